"""`python -m maskmill`: the command line without an installed script, as `ray job submit` wants it."""

from maskmill.jobs.cli import main

if __name__ == "__main__":
    main()
