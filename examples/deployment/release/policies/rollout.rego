package deploy.authz

default allow := false

# The work's own service, of a team that the delegating person is in.
own_service if {
	input.resource.tenant_id == input.workflow.tenant_id
	input.resource.service == input.workflow.service
	owned
}

owned if placet.check(concat(":", ["user", input.delegating_user.id]), "owner", concat(":", ["service", input.resource.id]))

allow if {
	input.action == "roll_out"
	input.intent == "ship_release"
	own_service
	input.target == "staging"
	input.resource.ci == "green"
}

# Production: green, not frozen, and a release manager's yes to exactly this image.
allow if {
	input.action == "roll_out"
	input.intent == "ship_release"
	own_service
	input.target == "production"
	input.resource.ci == "green"
	input.workflow.release_approval.status == "approved"
}

# Going back to what ran before needs nobody's yes.
allow if {
	input.action == "roll_back"
	input.intent == "restore_service"
	own_service
}

deny contains "a frozen service isn't rolled out" if {
	input.action == "roll_out"
	not thawed
}

thawed if input.resource.frozen == false

# Whoever can write into a log could ask for a deployment.
deny contains "no production rollout after logs were read" if {
	input.action == "roll_out"
	input.target == "production"
	"untrusted_logs" in input.flow.labels
}
