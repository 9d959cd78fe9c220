"""`sentigate migrate`: bring the database to the newest schema, as the role that owns its tables.

In an image, which has no `sentigate`: `python -m sentiment.database`.
"""

import click
import sqlalchemy as sa

from sentiment.database.connection import grant_use, open_database
from sentiment.database.url import locate_database
from sentiment.errors import SentimentError


@click.command()
@click.option("--role", default="", help="Role of the service, which may then read and write the tables.")
def main(role: str) -> None:
    """Migrate the database of DATABASE_URL."""
    try:
        with open_database(locate_database()) as engine:
            if role:
                grant_use(engine, role)
    except SentimentError as error:
        raise click.ClickException(str(error)) from error
    except sa.exc.SQLAlchemyError as error:
        said = str(getattr(error, "orig", error)).strip().splitlines()[-1]
        raise click.ClickException(f"the database of DATABASE_URL does not answer as wanted: {said}.") from error
    click.echo("the database has the newest schema" + (f"; {role} may read and write its tables" if role else ""))


if __name__ == "__main__":
    main()
