package support.authz_test

import data.support.authz

test_an_export_is_denied if {
	count(authz.deny) > 0 with input as {"action": "export_customers"}
}

test_nothing_is_allowed_by_default if {
	not authz.allow with input as {"action": "something_else"}
}
