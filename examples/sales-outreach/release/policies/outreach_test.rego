package sales.authz_test

import data.sales.authz

test_an_export_is_denied if {
	count(authz.deny) > 0 with input as {"action": "export_contacts"}
}

test_whoever_unsubscribed_is_not_written_to if {
	not authz.may_be_written_to with input as {
		"intent": "account_outreach",
		"workflow": {"tenant_id": "acme", "account": "A-7"},
		"resource": {"tenant_id": "acme", "account": "A-7", "consent": true, "unsubscribed": true},
	}
}
