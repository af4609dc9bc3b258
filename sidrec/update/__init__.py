"""The nightly update: a finished run takes in a log that has grown."""
