// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the media of calls must be.

use sallyport_signalling::Suite;
use sallyport_signalling::policy::{AccessNetwork, Policy, Rule};
use sallyport_signalling::sdes::Suites;
use sallyport_signalling::sdp::Medium;

use super::ConfigError;
use super::file::MediaPolicy;

pub(super) fn read(file: &MediaPolicy) -> Result<Policy, ConfigError> {
    let mut policy = sallyport_agent::default_policy();
    if let Some(names) = &file.suites {
        policy.sdes.suites = suites(names, "agent.policy.suites")?;
    }
    policy.needs_indications = file.needs_indications;
    policy.end_to_end = file.end_to_end;
    policy.sdes.relaxed.unencrypted_srtcp = file.unencrypted_srtcp;
    for (index, rule) in file.e2ae.iter().enumerate() {
        let key = |key: &str| format!("agent.policy.e2ae[{index}].{key}");
        let allowed = rule.suites.as_ref();
        let allowed = allowed.map(|names| suites(names, &key("suites")));
        policy.rules.push(Rule {
            medium: rule.medium.as_deref().map(Medium::from),
            access_network: rule.access_network.as_deref().map(AccessNetwork::parse),
            e2ae: rule
                .e2ae
                .parse()
                .map_err(|problem| ConfigError::key(key("e2ae"), format!("{problem}")))?,
            suites: allowed
                .transpose()?
                .map(|suites| suites.as_slice().to_vec()),
        });
    }
    Ok(policy)
}

fn suites(names: &[String], key: &str) -> Result<Suites, ConfigError> {
    let error = |problem: String| ConfigError::key(key, problem);
    let mut suites = Vec::<Suite>::new();
    for name in names {
        let suite = name.parse();
        suites.push(suite.map_err(|problem| error(format!("{name}: {problem}")))?);
    }
    Suites::new(suites).map_err(|problem| error(problem.to_string()))
}

#[cfg(test)]
mod tests {
    use sallyport_signalling::policy::E2ae;

    use super::*;
    use crate::config::file::E2aeRule;

    fn rule(e2ae: &str) -> E2aeRule {
        E2aeRule {
            medium: Some("audio".to_owned()),
            access_network: None,
            e2ae: e2ae.to_owned(),
            suites: None,
        }
    }

    #[test]
    fn suites_and_rules_are_those_of_the_file() {
        let gcm = || vec!["AEAD_AES_128_GCM".to_owned()];
        let of_audio = E2aeRule {
            suites: Some(gcm()),
            ..rule("required")
        };
        let policy = read(&MediaPolicy {
            suites: Some([gcm(), vec!["AES_CM_128_HMAC_SHA1_80".to_owned()]].concat()),
            e2ae: vec![of_audio],
            unencrypted_srtcp: true,
            ..MediaPolicy::default()
        })
        .unwrap();
        assert!(policy.sdes.relaxed.unencrypted_srtcp);
        assert!(!policy.sdes.relaxed.unencrypted_srtp);
        let suites = |medium| policy.sdes(&medium, None).suites.as_slice().to_vec();
        let both = [Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1_80];
        assert_eq!(suites(Medium::Audio), both[..1]);
        assert_eq!(suites(Medium::Video), both);
        assert_eq!(policy.e2ae(&Medium::Audio, None), E2ae::Required);
        assert_eq!(policy.e2ae(&Medium::Video, None), E2ae::Optional);
    }

    #[test]
    fn what_is_no_suite_and_no_rule_is_an_error_with_its_key() {
        for (file, complaint) in [
            (
                MediaPolicy {
                    suites: Some(vec!["ROT13".to_owned()]),
                    ..MediaPolicy::default()
                },
                "agent.policy.suites: ROT13: ",
            ),
            (
                MediaPolicy {
                    suites: Some(vec![]),
                    ..MediaPolicy::default()
                },
                "agent.policy.suites: no suite may be offered",
            ),
            (
                MediaPolicy {
                    e2ae: vec![rule("off"), rule("perhaps")],
                    ..MediaPolicy::default()
                },
                "agent.policy.e2ae[1].e2ae: ",
            ),
            (
                MediaPolicy {
                    e2ae: vec![E2aeRule {
                        suites: Some(vec!["ROT13".to_owned()]),
                        ..rule("off")
                    }],
                    ..MediaPolicy::default()
                },
                "agent.policy.e2ae[0].suites: ROT13: ",
            ),
        ] {
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
