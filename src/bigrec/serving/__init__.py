"""The recommender as a service over HTTP."""
