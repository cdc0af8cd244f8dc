"""Identity providers of the tests, and the certificates that they show."""
