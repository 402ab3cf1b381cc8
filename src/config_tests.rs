//! Sources of settings, their precedence, and what is rejected.

use super::*;

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn load(variables: &[(&str, &str)], flags: &[(&str, &str)]) -> anyhow::Result<Config> {
    Config::from_sources(None, &pairs(variables), &pairs(flags))
}

#[test]
fn the_defaults_apply_without_input() {
    let config = load(&[], &[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.upload_max_bytes, 100 * 1024 * 1024);
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "uploads_at_once = 1\nbody_idle_seconds = 1\nheader_read_seconds = 1\n";
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let variables = pairs(&[
        ("DOSSIER_CONFIG", path),
        ("DOSSIER_BODY_IDLE_SECONDS", "2"),
        ("DOSSIER_HEADER_READ_SECONDS", "2"),
    ]);
    let flags = pairs(&[("header_read_seconds", "3")]);
    let config = Config::from_sources(None, &variables, &flags).unwrap();
    let found = (config.uploads_at_once, config.body_idle_seconds, config.header_read_seconds);
    assert_eq!(found, (1, 2, 3));
}

#[test]
fn an_unknown_name_is_rejected_from_every_source() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "lissten = \"x\"\n").unwrap();
    let errors = [
        Config::from_sources(Some(file.path()), &[], &[]).unwrap_err(),
        load(&[("DOSSIER_LISSTEN", "x")], &[]).unwrap_err(),
        load(&[], &[("lissten", "x")]).unwrap_err(),
    ];
    for error in errors {
        let text = format!("{error:#}");
        assert!(text.contains("no setting \"lissten\"; the settings are: blobs, "), "{text}");
    }
}

#[test]
fn an_invalid_value_is_rejected_with_the_name_of_its_setting() {
    for (name, text) in [
        ("listen", "8080"),
        ("listen_tls", "nowhere"),
        ("listen_metrics", "here"),
        ("public_url", "files.example"),
        ("public_url", "ftp://files.example"),
        ("media_url", "media.example"),
        ("public_url", "https://files.example/?a=b"),
        ("upload_max_bytes", "100MB"),
        ("upload_max_bytes", "0"),
        ("uploads_at_once", "-1"),
        ("media_references", "both"),
        ("transforms", "all"),
        ("log_format", "xml"),
        ("contacts_policy", "some"),
        ("tls_cert", "cert.pem"),
        ("cors_origins", "https://app.example/"),
        ("cors_origins", "https://app.example,null"),
        ("cors_origins", "App.example"),
        ("webhook_allow_private", "yes"),
        ("webhook_retry_minutes", "1,soon"),
        ("webhook_retry_minutes", "1,0"),
        ("event_days", "2"),
        ("webhook_timeout_ms", "0"),
        ("blobs_also", "nowhere"),
        ("blobs_also", "local"),
    ] {
        let error = format!("{:#}", load(&[], &[(name, text)]).unwrap_err());
        assert!(error.contains(name), "{name}: {error}");
    }
}

#[test]
fn lists_are_separated_by_commas() {
    let config = load(&[("DOSSIER_TLS_NAMES", "dossier.test, 10.0.0.1")], &[]).unwrap();
    assert_eq!(config.tls_names, ["dossier.test", "10.0.0.1"]);
}

#[test]
fn a_public_url_keeps_its_base_path() {
    let config = load(&[], &[("public_url", "https://files.example/base")]).unwrap();
    assert_eq!(config.public_url.unwrap().as_str(), "https://files.example/base/");
}
