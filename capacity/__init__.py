"""The capacity model: from a day's workload to resources, their limits and their cost.

Pure functions over frozen dataclasses: `workload` → `traffic` → demand (`dynamodb`, `redis`, `bigtable`, `objects`,
`calls`, `cluster`) → `estimate`, then `limits`, `cost` and `recommendation` over it.
"""
