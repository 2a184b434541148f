"""`python -m earwitness.cli`."""

from earwitness.cli import main

if __name__ == "__main__":
    main()
