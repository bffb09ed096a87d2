"""The tests of the API: requests to the application, on the database of the test."""
