package start.authz_test

import data.start.authz

work := {
	"intent": "everyday_work",
	"workflow": {"type": "everyday", "tenant_id": "acme"},
	"resource": {"tenant_id": "acme"},
}

test_reading_is_allowed if {
	authz.allow with input as object.union(work, {"tool": {"effect": "read"}})
}

test_changing_is_not if {
	not authz.allow with input as object.union(work, {"tool": {"effect": "write"}})
	not authz.allow with input as object.union(work, {"tool": {"effect": "destructive"}})
}
