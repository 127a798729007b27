//! The event types that are known, by their last words.

/// The base of CAEP's event types.
pub const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
/// The base of RISC's.
pub const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
/// The base of the framework's own.
pub const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

/// An event type that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// CAEP: a session ended.
    SessionRevoked,
    /// CAEP: claims of issued tokens hold no more.
    TokenClaimsChange,
    /// CAEP: a credential was made, changed or taken away.
    CredentialChange,
    /// CAEP: the person is known more or less surely.
    AssuranceLevelChange,
    /// CAEP: a device keeps its rules, or not.
    DeviceComplianceChange,
    /// CAEP: the risk changed.
    RiskLevelChange,
    /// RISC: the account is disabled.
    AccountDisabled,
    /// RISC: the account is enabled.
    AccountEnabled,
    /// RISC: the account is gone.
    AccountPurged,
    /// RISC: the person must change a credential.
    AccountCredentialChangeRequired,
    /// RISC: a credential is in others' hands.
    CredentialCompromise,
    /// RISC: an identifier of the person changed.
    IdentifierChanged,
    /// RISC: an identifier is another person's now.
    IdentifierRecycled,
}

impl Known {
    /// All, with the last word of their URI.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::SessionRevoked, "session-revoked"),
        (Self::TokenClaimsChange, "token-claims-change"),
        (Self::CredentialChange, "credential-change"),
        (Self::AssuranceLevelChange, "assurance-level-change"),
        (Self::DeviceComplianceChange, "device-compliance-change"),
        (Self::RiskLevelChange, "risk-level-change"),
        (Self::AccountDisabled, "account-disabled"),
        (Self::AccountEnabled, "account-enabled"),
        (Self::AccountPurged, "account-purged"),
        (Self::AccountCredentialChangeRequired, "account-credential-change-required"),
        (Self::CredentialCompromise, "credential-compromise"),
        (Self::IdentifierChanged, "identifier-changed"),
        (Self::IdentifierRecycled, "identifier-recycled"),
    ];

    /// The last word of its URI, as settings write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// The type of this last word.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(known, _)| *known)
    }

    /// Its URI.
    #[must_use]
    pub fn uri(self) -> String {
        let base = match self {
            Self::SessionRevoked
            | Self::TokenClaimsChange
            | Self::CredentialChange
            | Self::AssuranceLevelChange
            | Self::DeviceComplianceChange
            | Self::RiskLevelChange => CAEP,
            Self::AccountDisabled
            | Self::AccountEnabled
            | Self::AccountPurged
            | Self::AccountCredentialChangeRequired
            | Self::CredentialCompromise
            | Self::IdentifierChanged
            | Self::IdentifierRecycled => RISC,
        };
        format!("{base}{}", self.name())
    }
}

/// The known type of a URI.
#[must_use]
pub fn kind_of(uri: &str) -> Option<Known> {
    let name = uri.strip_prefix(CAEP).or_else(|| uri.strip_prefix(RISC))?;
    Known::named(name).filter(|known| known.uri() == uri)
}
