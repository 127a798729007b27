//! How a client proves who it is to the token endpoint (`private_key_jwt`, RFC 7523 with its update: the audience is
//! the issuer's identifier and nothing else).

use placet_json::Object;

use crate::claims::{Claims, Members};
use crate::keyset::KeySet;
use crate::refused::Refused;
use crate::verified::{Expect, Verified};

/// `iss` and `sub` are the client, `aud` our issuer, `jti` counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAssertion {
    /// The client.
    pub sub: String,
    /// Fresh for each assertion.
    pub jti: String,
}

impl ClientAssertion {
    /// Checks the assertion of one client by that client's own keys.
    pub fn open(
        token: &str,
        client: &str,
        keys: &KeySet,
        our_issuer: &str,
        now: u64,
    ) -> Result<Verified<Self>, Refused> {
        let assertion: Verified<Self> =
            Verified::open(token, &Expect { issuer: client, audience: our_issuer, keys }, now)?;
        if assertion.claims().sub == client { Ok(assertion) } else { Err(Refused::Claim("sub")) }
    }
}

impl Claims for ClientAssertion {
    const TYP: &'static str = "client-authentication+jwt";
    const MAX_LIFE: u64 = 60;

    fn read(members: &mut Members) -> Result<Self, Refused> {
        Ok(Self { sub: members.text("sub")?, jti: members.jti()? })
    }

    fn write(&self, payload: &mut Object) {
        let Self { sub, jti } = self;
        payload.insert("sub", sub.as_str());
        payload.insert("jti", jti.as_str());
    }
}
