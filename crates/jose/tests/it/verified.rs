use placet_jose::claims::{Claims, Members};
use placet_jose::tokens::{ClientAssertion, WorkflowToken};
use placet_jose::{
    Algorithm, Expect, KeySet, LEEWAY, Refused, SigningKey, Stamp, Verified, claimed_issuer, mint,
};
use placet_json::Object;

use crate::support::{
    AUDIENCE, ISSUER, NOW, encode, key, parts, public_bytes, sign, sign_hmac, workflow_claims, workflow_token,
};

fn open(token: &str, keys: &KeySet) -> Result<Verified<WorkflowToken>, Refused> {
    Verified::open(token, &Expect { issuer: ISSUER, audience: AUDIENCE, keys }, NOW)
}

fn refused(token: &str, keys: &KeySet) -> Refused {
    open(token, keys).map(drop).expect_err("must be refused")
}

/// A token with one text of its header or payload replaced, signed anew by the right key.
fn resigned(signer: &SigningKey, replace: &str, with: &str) -> String {
    let (header, payload, _) = parts(&workflow_token(signer, signer.public()));
    let (new_header, new_payload) = (header.replace(replace, with), payload.replace(replace, with));
    assert!(
        header != new_header || payload != new_payload,
        "`{replace}` is not in the token: {header} {payload}"
    );
    sign(signer, &new_header, &new_payload)
}

#[test]
fn what_was_minted_opens_as_it_was() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let (signer, agent) = (key(algorithm), key(Algorithm::Es256));
        let token = workflow_token(&signer, agent.public());
        let opened = open(&token, &KeySet::of(signer.public())).unwrap();
        assert_eq!(opened.claims(), &workflow_claims(agent.public()));
        assert_eq!((opened.issued_at(), opened.expires_at()), (NOW, NOW + 300));
        assert_eq!(opened.key(), signer.public().thumbprint());
        assert_eq!(opened.claims().act.by_delegation().collect::<Vec<_>>(), ["planner-1", "agent-7"]);
    }
}

#[test]
fn env_1_the_key_fixes_the_algorithm() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let signer = key(algorithm);
        let keys = KeySet::of(signer.public());
        let (header, payload, signature) = parts(&workflow_token(&signer, signer.public()));
        for other in ["none", "nOnE", "None", "NONE", "HS256", "RS256", "ES384", "", "es256", "eddsa"] {
            let header = header.replace(algorithm.name(), other);
            for signature in ["", signature.as_str()] {
                let token = format!("{}.{}.{signature}", encode(&header), encode(&payload));
                assert_eq!(refused(&token, &keys), Refused::Algorithm, "{other}");
            }
        }
        // CVE-2026-22817 and its like: the public key, in any of its forms, as HMAC secret.
        let hs256 = header.replace(algorithm.name(), "HS256");
        let jwk = public_bytes(signer.public());
        for secret in [jwk.clone(), parts_of_jwk(&jwk)] {
            for header in [&hs256, &header] {
                let error = refused(&sign_hmac(&secret, header, &payload), &keys);
                assert!(matches!(error, Refused::Algorithm | Refused::Signature), "{error:?}");
            }
        }
        // The other algorithm's header over our key.
        let other = if algorithm == Algorithm::EdDsa { "ES256" } else { "EdDSA" };
        let token = sign(&signer, &header.replace(algorithm.name(), other), &payload);
        assert_eq!(refused(&token, &keys), Refused::Algorithm);
        // No `alg` at all.
        let token =
            sign(&signer, &header.replace(&format!(r#""alg":"{}","#, algorithm.name()), ""), &payload);
        assert_eq!(refused(&token, &keys), Refused::Algorithm);
    }
}

fn parts_of_jwk(jwk: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(jwk).unwrap();
    text.split("\"x\":\"").nth(1).unwrap().split('"').next().unwrap().as_bytes().to_vec()
}

#[test]
fn env_2_no_key_from_outside() {
    let (signer, attacker) = (key(Algorithm::EdDsa), key(Algorithm::EdDsa));
    let keys = KeySet::of(signer.public());
    let (header, payload, _) = parts(&workflow_token(&signer, signer.public()));
    let kid = signer.public().thumbprint().to_string();
    for path in ["../../../../dev/null", "/etc/passwd", "' OR 1=1 --", "https://evil.example/jwks", ""] {
        assert_eq!(
            refused(&sign(&attacker, &header.replace(&kid, path), &payload), &keys),
            Refused::UnknownKey
        );
    }
    let with = |member: &str| format!("{{{member},{}", &header[1..]);
    for (member, error) in [
        (r#""jku":"https://evil.example/jwks""#.to_owned(), Refused::ForeignKey),
        (r#""x5u":"https://evil.example/cert""#.to_owned(), Refused::ForeignKey),
        (r#""x5c":["AAAA"]"#.to_owned(), Refused::ForeignKey),
        (format!(r#""jwk":{}"#, attacker.public().to_jwk()), Refused::ForeignKey),
        (r#""crit":["exp"]"#.to_owned(), Refused::Critical),
        (r#""crit":[]"#.to_owned(), Refused::Critical),
        (r#""b64":false"#.to_owned(), Refused::Critical),
        (r#""zip":"DEF""#.to_owned(), Refused::Critical),
    ] {
        for by in [&signer, &attacker] {
            assert_eq!(refused(&sign(by, &with(&member), &payload), &keys), error, "{member}");
        }
    }
    assert_eq!(refused(&sign(&attacker, &header, &payload), &keys), Refused::Signature);
    assert_eq!(
        refused(&sign(&signer, &header.replace(&format!("\"{kid}\""), "7"), &payload), &keys),
        Refused::UnknownKey
    );
}

#[test]
fn env_3_one_audience_and_one_issuer_byte_for_byte() {
    let signer = key(Algorithm::EdDsa);
    let keys = KeySet::of(signer.public());
    let aud = format!(r#""aud":"{AUDIENCE}""#);
    for other in [
        r#""aud":"https://billing.example/mcp""#.to_owned(),
        r#""aud":"https://gw.example/mcp/""#.to_owned(),
        r#""aud":"https://GW.example/mcp""#.to_owned(),
        r#""aud":"https://gw.example""#.to_owned(),
        format!(r#""aud":["{AUDIENCE}"]"#),
        format!(r#""aud":["{AUDIENCE}","https://billing.example/mcp"]"#),
        r#""aud":null"#.to_owned(),
        r#""audience":"https://gw.example/mcp""#.to_owned(),
    ] {
        assert_eq!(refused(&resigned(&signer, &aud, &other), &keys), Refused::Audience, "{other}");
    }
    let iss = format!(r#""iss":"{ISSUER}""#);
    for other in [
        r#""iss":"https://gw.example/""#.to_owned(),
        r#""iss":"https://gw.example.evil""#.to_owned(),
        r#""iss":"https://gw""#.to_owned(),
        r#""iss":"HTTPS://gw.example""#.to_owned(),
        format!(r#""iss":["{ISSUER}"]"#),
        r#""issuer":"https://gw.example""#.to_owned(),
    ] {
        assert_eq!(refused(&resigned(&signer, &iss, &other), &keys), Refused::Issuer, "{other}");
    }
}

#[test]
fn the_type_is_exact_and_checked_first() {
    let signer = key(Algorithm::EdDsa);
    let keys = KeySet::of(signer.public());
    for other in ["JWT", "AT+JWT", "application/at+jwt", "at+jwt ", "dpop+jwt", "placet-call+jwt", ""] {
        let token = resigned(&signer, r#""typ":"at+jwt""#, &format!(r#""typ":"{other}""#));
        assert_eq!(refused(&token, &keys), Refused::Type, "{other}");
        // Also before the key is even looked for.
        assert_eq!(refused(&token, &KeySet::new()), Refused::Type, "{other}");
    }
    assert_eq!(refused(&resigned(&signer, r#""typ":"at+jwt","#, ""), &keys), Refused::Type);
    // One kind isn't another, though the same key signed both.
    let stamp = Stamp { issuer: ISSUER, audience: AUDIENCE, issued_at: NOW, expires_at: NOW + 60 };
    let assertion =
        mint(&signer, &stamp, &ClientAssertion { sub: "a".to_owned(), jti: "j".to_owned() }).unwrap();
    assert_eq!(refused(&assertion, &keys), Refused::Type);
}

#[test]
fn times_are_whole_seconds_and_present() {
    let signer = key(Algorithm::EdDsa);
    let keys = KeySet::of(signer.public());
    let (iat, exp) = (format!(r#""iat":{NOW}"#), format!(r#""exp":{}"#, NOW + 300));
    for (from, name) in [(&iat, "iat"), (&exp, "exp")] {
        for other in [
            format!(r#""{name}":{NOW}.5"#),
            format!(r#""{name}":{NOW}.0"#),
            format!(r#""{name}":1.79e9"#),
            format!(r#""{name}":"{NOW}""#),
            format!(r#""{name}":-1"#),
            format!(r#""{name}":{NOW}000"#),
            format!(r#""{name}":18446744073709551615"#),
            format!(r#""{name}":null"#),
            format!(r#""x{name}":{NOW}"#),
        ] {
            assert_eq!(refused(&resigned(&signer, from, &other), &keys), Refused::Claim(name), "{other}");
        }
    }
    assert_eq!(
        refused(&resigned(&signer, &exp, &format!(r#""exp":{}"#, NOW + 301)), &keys),
        Refused::Lifetime
    );
    assert_eq!(refused(&resigned(&signer, &exp, &format!(r#""exp":{NOW}"#)), &keys), Refused::Lifetime);
    let nbf = |nbf: &str| resigned(&signer, &iat, &format!(r#"{iat},"nbf":{nbf}"#));
    open(&nbf(&NOW.to_string()), &keys).unwrap();
    assert_eq!(refused(&nbf(&(NOW + LEEWAY + 1).to_string()), &keys), Refused::NotYet);
    assert_eq!(refused(&nbf("1.5"), &keys), Refused::Claim("nbf"));
}

#[test]
fn the_leeway_is_five_seconds_at_either_end() {
    let signer = key(Algorithm::EdDsa);
    let keys = KeySet::of(signer.public());
    let token = workflow_token(&signer, signer.public());
    let at = |now: u64| {
        let expect = Expect { issuer: ISSUER, audience: AUDIENCE, keys: &keys };
        Verified::<WorkflowToken>::open(&token, &expect, now).map(drop)
    };
    assert_eq!(at(NOW - LEEWAY - 1), Err(Refused::NotYet));
    assert_eq!(at(NOW - LEEWAY), Ok(()));
    assert_eq!(at(NOW + 300 + LEEWAY - 1), Ok(()));
    assert_eq!(at(NOW + 300 + LEEWAY), Err(Refused::Expired));
    assert_eq!(at(u64::MAX), Err(Refused::Expired));
}

#[test]
fn json_is_strict_in_both_parts() {
    let signer = key(Algorithm::EdDsa);
    let keys = KeySet::of(signer.public());
    let (header, payload, _) = parts(&workflow_token(&signer, signer.public()));
    let twice = |text: &str, member: &str| format!("{{{member},{}", &text[1..]);
    for (header, payload) in [
        (twice(&header, r#""typ":"at+jwt""#), payload.clone()),
        (twice(&header, r#""alg":"none""#), payload.clone()),
        (header.clone(), twice(&payload, r#""aud":"https://evil.example""#)),
        (header.clone(), payload.replace(r#""tenant":"acme""#, r#""tenant":"globex","tenant":"acme""#)),
        (header.clone(), format!("{payload} x")),
        (header.clone(), format!("\u{feff}{payload}")),
        (header.clone(), format!("[{payload}]")),
        (format!("[{header}]"), payload.clone()),
        (
            header.clone(),
            payload.replace(
                r#""constraints":{"#,
                &format!(r#""constraints":{{"a":{}1{},"#, "[".repeat(40), "]".repeat(40)),
            ),
        ),
    ] {
        let error = refused(&sign(&signer, &header, &payload), &keys);
        // Trailing bytes are refused by the signature's own reading of the payload already.
        assert!(matches!(error, Refused::Malformed | Refused::Signature), "{error:?}: {header} {payload}");
    }
}

#[test]
fn the_form_is_three_parts_of_strict_base64url() {
    let signer = key(Algorithm::EdDsa);
    let keys = KeySet::of(signer.public());
    let token = workflow_token(&signer, signer.public());
    let (head, signature) = token.rsplit_once('.').unwrap();
    // The last letter of 64 bytes has four idle bits: another letter with the same bytes must not pass.
    let idle = signature.chars().last().unwrap();
    let twin = char::from_u32(idle as u32 + 1).unwrap();
    let twin = format!("{head}.{}{twin}", &signature[..signature.len() - 1]);
    for (token, error) in [
        (String::new(), Refused::Malformed),
        ("a.b".to_owned(), Refused::Malformed),
        (format!("{token}.x"), Refused::Malformed),
        (format!("{token}="), Refused::Signature),
        (format!(" {token}"), Refused::Malformed),
        (format!("{head}."), Refused::Signature),
        (twin, Refused::Signature),
        ("e30.e30.".to_owned(), Refused::Type),
        (format!("{head}.{}", "A".repeat(16 * 1024)), Refused::TooLarge),
    ] {
        assert_eq!(refused(&token, &keys), error, "{}", &token[..token.len().min(80)]);
    }
}

#[test]
fn claims_are_known_typed_and_bounded() {
    let signer = key(Algorithm::EdDsa);
    let keys = KeySet::of(signer.public());
    for (from, to, error) in [
        (r#""sub":"maya""#, r#""sub":"""#.to_owned(), Refused::Claim("sub")),
        (r#""sub":"maya""#, r#""sub":7"#.to_owned(), Refused::Claim("sub")),
        (r#""sub":"maya""#, r#""sub":"ma\u0000ya""#.to_owned(), Refused::Claim("sub")),
        (r#""sub":"maya""#, format!(r#""sub":"{}""#, "m".repeat(513)), Refused::Claim("sub")),
        (r#""jti":"wt_1""#, format!(r#""jti":"{}""#, "j".repeat(129)), Refused::Claim("jti")),
        (r#""sub":"maya""#, r#""sub":"maya","admin":true"#.to_owned(), Refused::UnknownClaim),
        (r#""tenant":"acme""#, r#""tenant":"acme","tenants":["globex"]"#.to_owned(), Refused::UnknownClaim),
        (r#""cnf":{"#, r#""cnf":{"x5t#S256":"AA","#.to_owned(), Refused::UnknownClaim),
        (r#""cnf":{"#, r#""xcnf":{"#.to_owned(), Refused::Claim("cnf")),
        (r#""client_id":"agent-7""#, r#""client_id":"agent-8""#.to_owned(), Refused::Claim("act")),
        (r#""intents":["support_case_resolution"]"#, r#""intents":[]"#.to_owned(), Refused::Claim("intents")),
        (
            r#""type":"placet_workflow""#,
            r#""type":"placet_call""#.to_owned(),
            Refused::Claim("authorization_details"),
        ),
        (r#""max_depth":1"#, r#""max_depth":1.5"#.to_owned(), Refused::Claim("max_depth")),
        (r#""max_depth":1}]"#, r#""max_depth":1},{}]"#.to_owned(), Refused::Claim("authorization_details")),
    ] {
        assert_eq!(refused(&resigned(&signer, from, &to), &keys), error, "{to:.60}");
    }
    let mut deep = r#"{"sub":"planner-1","sub_profile":"ai_agent"}"#.to_owned();
    for _ in 0..8 {
        deep = format!(r#"{{"sub":"p","act":{deep}}}"#);
    }
    let token = resigned(&signer, r#"{"sub":"planner-1","sub_profile":"ai_agent"}"#, &deep);
    assert_eq!(refused(&token, &keys), Refused::Claim("act"), "a chain of ten");
}

#[test]
fn nothing_is_minted_that_would_be_refused() {
    let signer = key(Algorithm::EdDsa);
    let stamp =
        |life: u64| Stamp { issuer: ISSUER, audience: AUDIENCE, issued_at: NOW, expires_at: NOW + life };
    let claims = workflow_claims(signer.public());
    assert!(mint(&signer, &stamp(0), &claims).is_err());
    assert!(mint(&signer, &stamp(301), &claims).is_err());
    let mut nobody = claims.clone();
    nobody.sub.clear();
    assert!(mint(&signer, &stamp(300), &nobody).is_err());
    let mut huge = claims;
    huge.detail.actions = vec!["a".repeat(512); 64];
    assert!(mint(&signer, &stamp(300), &huge).is_err());
}

#[test]
fn a_client_assertion_is_the_client_s_own() {
    let (agent, other) = (key(Algorithm::Es256), key(Algorithm::Es256));
    let stamp = |issuer: &'static str, audience: &'static str| Stamp {
        issuer,
        audience,
        issued_at: NOW,
        expires_at: NOW + 60,
    };
    let make = |signer: &SigningKey, issuer, audience, sub: &str| {
        mint(signer, &stamp(issuer, audience), &ClientAssertion { sub: sub.to_owned(), jti: "j1".to_owned() })
            .unwrap()
    };
    let keys = KeySet::of(agent.public());
    let open = |token: &str| ClientAssertion::open(token, "agent-7", &keys, ISSUER, NOW).map(drop);
    assert_eq!(claimed_issuer(&make(&agent, "agent-7", ISSUER, "agent-7")), Ok("agent-7".to_owned()));
    assert_eq!(open(&make(&agent, "agent-7", ISSUER, "agent-7")), Ok(()));
    assert_eq!(open(&make(&agent, "agent-7", ISSUER, "agent-8")), Err(Refused::Claim("sub")));
    assert_eq!(open(&make(&agent, "agent-8", ISSUER, "agent-7")), Err(Refused::Issuer));
    // The audience is the issuer, not the token endpoint.
    assert_eq!(
        open(&make(&agent, "agent-7", "https://gw.example/oauth/token", "agent-7")),
        Err(Refused::Audience)
    );
    assert_eq!(open(&make(&other, "agent-7", ISSUER, "agent-7")), Err(Refused::UnknownKey));
}

#[test]
fn a_kind_decides_about_its_own_claims() {
    #[derive(Debug)]
    struct Bare;
    impl Claims for Bare {
        const TYP: &'static str = "bare+jwt";
        const MAX_LIFE: u64 = 10;
        fn read(_: &mut Members) -> Result<Self, Refused> {
            Ok(Self)
        }
        fn write(&self, _: &mut Object) {}
    }
    let signer = key(Algorithm::EdDsa);
    let stamp = Stamp { issuer: ISSUER, audience: AUDIENCE, issued_at: NOW, expires_at: NOW + 10 };
    let token = mint(&signer, &stamp, &Bare).unwrap();
    let (header, payload, _) = parts(&token);
    let keys = KeySet::of(signer.public());
    let expect = Expect { issuer: ISSUER, audience: AUDIENCE, keys: &keys };
    assert!(Verified::<Bare>::open(&token, &expect, NOW).is_ok());
    let more = payload.replacen('{', r#"{"more":1,"#, 1);
    let error = Verified::<Bare>::open(&sign(&signer, &header, &more), &expect, NOW).unwrap_err();
    assert_eq!(error, Refused::UnknownClaim);
}
