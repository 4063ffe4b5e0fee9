"""What is looked at on a host before work starts, for `make doctor` and for the start of every run."""
