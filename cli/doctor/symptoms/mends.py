"""Commands that mend several symptoms."""

UP = "`./flatline up --stack {stack} --context {context}`"
LOGS = "`kubectl --context {context} -n {namespace} logs {name} --all-containers --tail 50`"
DESCRIBE = "`kubectl --context {context} -n {namespace} describe {kind} {name}`"
