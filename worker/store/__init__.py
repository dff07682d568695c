"""The one door to Postgres."""
