"""One truth each for the DynamoDB tables, the buckets, the Bigtable tables and the secrets."""
