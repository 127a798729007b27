package support.authz

default allow := false

# The work's own case, for its own purpose.
own_case if {
	input.intent == "support_case_resolution"
	input.resource.tenant_id == input.workflow.tenant_id
	input.resource.case_id == input.workflow.case_id
}

allow if {
	input.action == "read_case"
	own_case
}

# Searching shows other customers as well: only for whoever the case is assigned to, alone or with their team.
allow if {
	input.action == "search_customers"
	own_case
	assigned
}

assigned if placet.check(concat(":", ["user", input.delegating_user.id]), "assignee", concat(":", ["support_case", input.resource.id]))

# Paying back: small amounts; larger ones with a manager's yes to exactly this call.
allow if {
	input.action == "issue_refund"
	own_case
	input.amount > 0
	input.amount <= 100
}

allow if {
	input.action == "issue_refund"
	own_case
	input.workflow.manager_approval.status == "approved"
}

allow if {
	input.action == "post_message"
	own_case
}

# Once customer data came into the work, it stays in the case's own channel.
deny contains "customer data stays in the case's own channel" if {
	input.action == "post_message"
	"customer_pii" in input.flow.labels
	not own_channel
}

own_channel if input.channel == input.resource.channel

deny contains "customer lists never leave by an agent" if {
	input.action == "export_customers"
}
