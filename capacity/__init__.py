"""The capacity model: from what people do in a day to resources, their limits and their cost.

Pure functions over frozen dataclasses: `workload` → `traffic` → demand (`dynamodb`, `redis`, `bigtable`, `objects`,
`cluster`) → `estimate`, then `limits`, `cost` and `recommendation` over it.
"""
