//! Why a token or a proof was refused. For logs and tests: what the caller is told is one undifferentiated answer,
//! so that the errors are no oracle.

/// The first check that failed. Checks run in the order of these variants, as far as they apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no token, or no proof, where one is required.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A header that must occur once occurs twice, or is not visible ASCII.
    #[error("header `{0}` is repeated or malformed")]
    Header(&'static str),
    /// The authentication scheme is not `DPoP`; a bound token under `Bearer` is a stolen token (RFC 9449 §7.2).
    #[error("the token isn't presented under the `DPoP` scheme")]
    Scheme,
    /// Longer than the kind's limit.
    #[error("larger than the limit")]
    TooLarge,
    /// Not three base64url parts, not strict JSON (duplicate members included), or not an object.
    #[error("not a well-formed compact JWS of strict JSON")]
    Malformed,
    /// `typ` is missing or another kind's (RFC 8725 §3.11).
    #[error("`typ` is another kind of token's")]
    Type,
    /// The header has `crit`, or an extension that changes what is signed or how (`b64`, `zip`, `enc`).
    #[error("the header asks for an extension")]
    Critical,
    /// The header brings or points to a key: `jku`, `x5u`, `x5c`, or `jwk` outside a proof.
    #[error("the header brings its own key")]
    ForeignKey,
    /// No pinned key has this `kid`, or several could.
    #[error("no such key")]
    UnknownKey,
    /// `alg` isn't the one algorithm of the key.
    #[error("`alg` isn't the key's algorithm")]
    Algorithm,
    /// The proof's `jwk` is not a usable public key.
    #[error("`jwk` is not a public key of a known kind")]
    Key,
    /// The proof's key isn't the one that the token is bound to.
    #[error("the proof's key isn't the token's")]
    Binding,
    /// The signature doesn't verify.
    #[error("the signature doesn't verify")]
    Signature,
    /// `iss` is missing or isn't byte for byte the expected issuer.
    #[error("`iss` isn't the expected issuer")]
    Issuer,
    /// `aud` is missing, an array, or isn't byte for byte this recipient.
    #[error("`aud` isn't this recipient alone")]
    Audience,
    /// `iat` or `nbf` lies in the future.
    #[error("not valid yet")]
    NotYet,
    /// `exp` has passed, or a proof is too old.
    #[error("expired")]
    Expired,
    /// `exp - iat` exceeds what this kind of token may live.
    #[error("lives longer than its kind may")]
    Lifetime,
    /// A claim is missing, unknown, of another type or out of bounds.
    #[error("claim `{0}` is missing or malformed")]
    Claim(&'static str),
    /// A claim that this kind of token doesn't have.
    #[error("an unknown claim is present")]
    UnknownClaim,
    /// The proof is for another method.
    #[error("made for another method")]
    Method,
    /// The proof or token is for another URL.
    #[error("made for another url")]
    Url,
    /// The proof is for another access token.
    #[error("the proof is for another token")]
    TokenHash,
    /// The proof lacks a nonce that is in force (answer `use_dpop_nonce`).
    #[error("the proof lacks a current nonce")]
    Nonce,
    /// The body is encoded, or its digest isn't the one that was signed.
    #[error("the body isn't the one that was signed")]
    Digest,
    /// Issued before this guard began to remember what it has seen.
    #[error("issued before this guard started")]
    BeforeStart,
    /// Used before.
    #[error("used before")]
    Replayed,
    /// The replay window has no room: refused, since accepting would mean forgetting.
    #[error("the replay window is full")]
    WindowFull,
}
