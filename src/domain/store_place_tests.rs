//! Valid and invalid blob store settings.

use super::*;

fn bucket(text: &str) -> Bucket {
    match StoreLocation::parse(text).unwrap() {
        StoreLocation::S3(bucket) => bucket,
        StoreLocation::Local => panic!("{text} is local"),
    }
}

fn problem(text: &str) -> String {
    StoreLocation::parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_setting_is_the_local_disk() {
    assert_eq!(StoreLocation::parse(""), Ok(StoreLocation::Local));
    assert_eq!(StoreLocation::parse("local"), Ok(StoreLocation::Local));
}

#[test]
fn a_store_is_the_same_however_it_is_reached() {
    let is_same = |one: &str, two: &str| {
        StoreLocation::parse(one).unwrap().is_same(&StoreLocation::parse(two).unwrap())
    };
    assert!(is_same("", "local"));
    assert!(is_same("s3://files", "s3://files?style=host&checksums=sha256"));
    assert!(is_same(
        "s3://files/a?endpoint=http://h:1&region=one",
        "s3://files/a/?endpoint=http://h:1/&region=two"
    ));
    for (one, two) in [
        ("", "s3://files"),
        ("s3://files", "s3://other"),
        ("s3://files", "s3://files/a"),
        ("s3://files?region=one", "s3://files?region=two"),
        ("s3://files?endpoint=http://h:1", "s3://files?endpoint=http://h:2"),
    ] {
        assert!(!is_same(one, two), "{one} {two}");
    }
}

#[test]
fn a_bare_bucket_uses_the_default_region_path_style_and_no_checksums() {
    let bucket = bucket("s3://files-1");
    assert_eq!((&*bucket.name, &*bucket.prefix), ("files-1", ""));
    assert_eq!((&*bucket.region, bucket.endpoint), ("us-east-1", None));
    assert!(!bucket.is_host_style && !bucket.sends_checksums);
}

#[test]
fn every_parameter_is_parsed() {
    let bucket = bucket(
        "s3://files/a/b/?endpoint=http://127.0.0.1:9000&region=eu-west-1&style=host&checksums=sha256\
         &ca=/etc/ssl/store.pem",
    );
    assert_eq!(bucket.prefix, "a/b/");
    assert_eq!(bucket.endpoint.unwrap().as_str(), "http://127.0.0.1:9000/");
    assert_eq!(bucket.region, "eu-west-1");
    assert!(bucket.is_host_style && bucket.sends_checksums);
    assert_eq!(bucket.authorities.unwrap().to_str(), Some("/etc/ssl/store.pem"));
}

#[test]
fn errors_name_the_invalid_part() {
    for (text, named) in [
        ("files", "not a URL"),
        ("http://files", "s3://"),
        ("s3://", "bucket"),
        ("s3://Ab", "bucket"),
        ("s3://files..x", "bucket"),
        ("s3://files:9000", "no port"),
        ("s3://files/a//b", "prefix"),
        ("s3://files/a%2e%2e", "prefix"),
        ("s3://files?regoin=x", "\"regoin\""),
        ("s3://files?region=a&region=b", "region: is given twice"),
        ("s3://files?region=", "region"),
        ("s3://files?style=virtual", "style"),
        ("s3://files?checksums=md5", "checksums"),
        ("s3://files?ca=", "ca"),
        ("s3://files?endpoint=ftp://host", "endpoint"),
        ("s3://files?endpoint=http://host/path", "endpoint"),
        ("s3://files?endpoint=http://user:hidden@host", "endpoint"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(named), "{text}: {problem}");
        assert!(!problem.contains("hidden"), "{problem}");
    }
}

#[test]
fn credentials_in_the_url_are_rejected_and_not_repeated() {
    for text in [
        "s3://id:hidden@files",
        "s3://hidden@files",
        "s3://files?secret_access_key=hidden",
        "s3://files?AWS_SESSION_TOKEN=hidden",
    ] {
        let problem = problem(text);
        assert!(problem.contains("contains credentials"), "{text}: {problem}");
        assert!(!problem.contains("hidden"), "{problem}");
    }
}

#[test]
fn keys_come_from_the_default_profile_and_are_never_printed() {
    let text = "[other]\naws_access_key_id = no\n\n[default]\n# ours\naws_access_key_id = id\n\
                aws_secret_access_key=hidden=+/\nregion = x\n";
    let keys = StoreKeys::parse_file(text).unwrap();
    assert_eq!((&*keys.access_key_id, &*keys.secret_access_key), ("id", "hidden=+/"));
    assert_eq!(keys.session_token, None);
    assert_eq!(format!("{keys:?}"), "StoreKeys(***)");
}

#[test]
fn a_missing_key_is_named() {
    let text = "[default]\naws_access_key_id = id\naws_secret_access_key =\n";
    let problem = StoreKeys::parse_file(text).unwrap_err().to_string();
    assert!(problem.contains("aws_secret_access_key"), "{problem}");
    let problem = StoreKeys::parse_file("aws_access_key_id = id").unwrap_err().to_string();
    assert!(problem.contains("aws_access_key_id"), "{problem}");
}
