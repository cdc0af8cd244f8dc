"""The `buffer` filter: a request goes on when all of it is here."""
