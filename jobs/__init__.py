"""The command line and one composition root a job."""
