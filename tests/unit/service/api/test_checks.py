"""What callers may send as parameters."""

import pytest

from service.api.checks import check_query
from service.api.errors import ApiError
from service.api.schemas import Everything, Search, Window


def test_what_is_left_out_or_empty_has_its_default():
    """A form that sends empty fields asks for everything."""
    assert check_query(Window, {}).hours == 24
    assert check_query(Search, {"text": "", "label": "", "uncertain": ""}) == Search()


def test_a_search_is_read():
    """Every condition of a search arrives as what it is."""
    search = check_query(Search, {"text": "good", "uncertain": "true", "limit": "7", "id": "mine-1"})

    assert (search.text, search.uncertain, search.limit, search.id) == ("good", True, 7, "mine-1")


@pytest.mark.parametrize(
    ("shape", "asked", "message"),
    [
        (Window, {"hours": "0"}, "hours cannot be read: input should be greater than or equal to 1."),
        (Window, {"hours": "99999"}, "hours cannot be read: input should be less than or equal to 8784."),
        (Window, {"days": "1"}, "there is a parameter that is not known here; wanted hours."),
        (Everything, {"x": "1"}, "there is a parameter that is not known here; wanted none."),
        (Search, {"before": "yesterday"}, "before cannot be read: it is not the cursor of a page."),
        (Search, {"limit": "201"}, "limit cannot be read: input should be less than or equal to 200."),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(shape, asked, message):
    """A parameter that is wrong is answered 422 with its name, and without what was sent."""
    with pytest.raises(ApiError) as refused:
        check_query(shape, asked)

    assert (refused.value.status, refused.value.problem.code) == (422, "bad_query")
    assert refused.value.problem.message == message
