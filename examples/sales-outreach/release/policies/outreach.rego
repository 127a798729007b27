package sales.authz

default allow := false

# A contact of the account that the work is about.
own_contact if {
	input.intent == "account_outreach"
	input.resource.tenant_id == input.workflow.tenant_id
	input.resource.account == input.workflow.account
}

may_be_written_to if {
	own_contact
	input.resource.consent == true
	input.resource.unsubscribed == false
}

allow if {
	input.action in {"read_contact", "read_replies", "add_note"}
	own_contact
}

allow if {
	input.action == "send_mail"
	may_be_written_to
}

# Offers: up to 10 % alone, more with a sales lead's yes to exactly this offer.
allow if {
	input.action == "send_offer"
	may_be_written_to
	input.discount_percent >= 0
	input.discount_percent <= 10
}

allow if {
	input.action == "send_offer"
	may_be_written_to
	input.workflow.discount_approval.status == "approved"
}

# Whoever writes back could ask for what was read about others: from then on mail of the agent's own words waits for
# a new workflow. Offers have no text of its own, and go on.
deny contains "no free text after a stranger's mail" if {
	input.action in {"send_mail", "add_note"}
	"untrusted_mail" in input.flow.labels
	"contact_data" in input.flow.labels
}

deny contains "contact lists never leave by an agent" if {
	input.action == "export_contacts"
}
