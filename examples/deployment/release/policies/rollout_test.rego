package deploy.authz_test

import data.deploy.authz

test_what_nobody_says_about_a_freeze_is_frozen if {
	count(authz.deny) > 0 with input as {"action": "roll_out", "target": "staging", "resource": {}, "flow": {"labels": []}}
}

test_nothing_is_allowed_by_default if {
	not authz.allow with input as {"action": "something_else"}
}
