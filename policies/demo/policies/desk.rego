package placet.demo.authz

import rego.v1

default allow := false

# What an agent of the support desk may do beside summaries and refunds.

desk_agent if input.agent.type in {"support_agent", "retrieval_agent"}

case_work if {
	input.intent == "support_case_resolution"
	desk_agent
}

# Relationships: who searches for customers is assigned to the case, alone or with their team.
allow if {
	input.action == "search_customers"
	case_work
	assigned
}

assigned if placet.check(concat(":", ["user", input.delegating_user.id]), "assignee", concat(":", ["support_case", input.resource.id]))

# Attributes: a message may go to any channel, as long as nothing confidential came into the workflow before.
allow if {
	input.action == "post_message"
	case_work
}

deny contains "customer data stays in the case's own channels" if {
	input.action == "post_message"
	"customer_pii" in input.flow.labels
	not startswith(input.channel, "#case-")
}
