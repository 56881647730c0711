// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What `sallyport doctor` says.

use std::fs;
use std::process::Command;

const CONFIG: &str = r#"version = 1
[realm.access]
nic = "lo"
addresses = ["127.0.0.1"]
ports = [40000, 49999]
[realm.core]
nic = "no-such-nic"
addresses = ["192.0.2.2"]
ports = [40000, 49999]
"#;

/// Exit status and lines of the report.
fn doctor(kernel: &str, args: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
    command.arg("doctor").args(args);
    let output = command
        .env("SALLYPORT_SRTP_KERNEL", kernel)
        .output()
        .expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("a report is text");
    (
        output.status.code(),
        text.lines().map(str::to_owned).collect(),
    )
}

/// The verdict of the line about this.
fn verdict<'a>(lines: &'a [String], subject: &str) -> (&'a str, &'a str) {
    let parts = lines.iter().filter_map(|line| line.split_once(' '));
    let mut found = parts.filter_map(|(verdict, rest)| {
        Some((
            verdict,
            rest.trim_start()
                .strip_prefix(subject)?
                .strip_prefix(": ")?,
        ))
    });
    found
        .next()
        .unwrap_or_else(|| panic!("nothing about {subject} in {lines:#?}"))
}

#[test]
fn every_line_has_a_verdict_and_only_errors_fail() {
    let (status, lines) = doctor("", &[]);
    let has_error = lines.iter().any(|line| line.starts_with("error "));
    assert_eq!(status, Some(i32::from(has_error)), "{lines:#?}");
    for line in &lines {
        let verdict = line.split(' ').next().unwrap();
        assert!(["ok", "warning", "error"].contains(&verdict), "{line}");
    }
    for subject in ["CPU", "Linux", "capabilities", "BPF file system"] {
        verdict(&lines, subject);
    }
}

#[test]
fn the_crypto_kernel_that_was_asked_for_is_named_and_an_unknown_one_is_complained_of() {
    let (_, lines) = doctor("portable", &[]);
    let (_, kernel) = verdict(&lines, "SRTP kernel");
    assert!(kernel.starts_with("portable,"), "{kernel}");
    let (_, lines) = doctor("mmx", &[]);
    let (verdict, kernel) = verdict(&lines, "SRTP kernel");
    assert_eq!(verdict, "warning");
    assert!(
        kernel.contains("no kernel is named \"mmx\"; use one of portable"),
        "{kernel}"
    );
}

#[test]
fn the_nics_of_a_configuration_are_looked_at() {
    let path = std::env::temp_dir().join(format!("sallyport-doctor-{}.toml", std::process::id()));
    fs::write(&path, CONFIG).unwrap();
    let (status, lines) = doctor("", &["--config", path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    assert_eq!(status, Some(1));
    let (core, text) = verdict(&lines, "realm core");
    assert_eq!(core, "error");
    assert!(
        text.contains("no such network interface \"no-such-nic\""),
        "{text}"
    );
    let (driver, text) = verdict(&lines, "lo driver");
    assert_eq!(driver, "warning");
    assert!(text.contains("take another NIC"), "{text}");
    let (mtu, text) = verdict(&lines, "lo MTU");
    assert_eq!(mtu, "error");
    assert!(text.contains("ip link set lo mtu 1500"), "{text}");
    assert_eq!(verdict(&lines, "lo queues"), ("ok", "1"));
}

#[test]
fn a_configuration_that_cannot_be_read_is_an_error_among_others() {
    let (status, lines) = doctor("", &["--config", "/no/such/sallyport.toml"]);
    assert_eq!(status, Some(1));
    let (found, text) = verdict(&lines, "configuration");
    assert_eq!(found, "error");
    assert!(text.contains("--config FILE"), "{text}");
    verdict(&lines, "Linux");
}
