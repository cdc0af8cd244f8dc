"""`python -m fastproxy`: the command line."""

from fastproxy.cli import main

if __name__ == "__main__":
    main()
