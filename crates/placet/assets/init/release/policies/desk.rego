package desk.authz

default allow := false

# Reading: any agent that this type of work admits, within the work's own case.
allow if {
	input.action == "read_case"
	input.intent == "support_case_resolution"
	input.resource.case_id == input.workflow.case_id
}

# Paying back: small amounts; larger ones with a manager's yes to exactly this call.
allow if {
	input.action == "issue_refund"
	input.intent == "support_case_resolution"
	input.resource.case_id == input.workflow.case_id
	input.amount <= 100
}

allow if {
	input.action == "issue_refund"
	input.intent == "support_case_resolution"
	input.resource.case_id == input.workflow.case_id
	input.workflow.manager_approval.status == "approved"
}

deny contains "customer lists never leave by an agent" if {
	input.action == "export_customers"
}
