"""What was: readings of years in buckets and series, what is kept of them and for how long, repairs and exports."""
