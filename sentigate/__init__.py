"""The command line: one command, `sentigate`, whose subcommands do all that the verbs of make do."""
