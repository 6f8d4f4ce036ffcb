"""Real servers and references for the tests, fetched or built once into the cache directory."""
