"""`python -m jobs`: the command line without an installed script, as `ray job submit` wants it."""

from jobs.cli import main

if __name__ == "__main__":
    main()
