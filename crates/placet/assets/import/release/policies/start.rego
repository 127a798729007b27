package start.authz

default allow := false

# Reading only: whatever else an agent asks for waits for a rule of its own.
allow if {
	input.tool.effect == "read"
	input.intent == "everyday_work"
	input.workflow.type == "everyday"
	input.resource.tenant_id == input.workflow.tenant_id
}
