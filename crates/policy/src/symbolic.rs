//! What provers need of a release's Cedar part. Nothing here proves anything.

use cedar_policy::{PolicySet, Schema};

use crate::{Release, manifest::EngineName};

impl Release {
    /// Its Cedar policies and the schema that they were validated against; none without Cedar.
    #[must_use]
    pub fn cedar(&self) -> Option<(Schema, PolicySet)> {
        let program = self.cedar.as_ref()?;
        let mut set = PolicySet::new();
        for (policy, _) in program.policies() {
            // Ids are unique: that was checked when the release was loaded.
            let _added = set.add(policy.clone());
        }
        Some((program.schema().clone(), set))
    }

    /// Whether it is Cedar that may grant an action.
    #[must_use]
    pub fn cedar_grants(&self, action: &str) -> bool {
        self.granter(action) == Some(EngineName::Cedar)
    }
}
