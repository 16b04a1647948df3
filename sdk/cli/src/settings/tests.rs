//! Which configuration counts.
#![allow(clippy::unwrap_used)]

use super::*;

fn project(platform: &str) -> Project {
    let manifest = format!("name = \"a\"\nlanguage = \"rust\"\n[platform]\n{platform}");
    Project {
        dir: "/project".into(),
        manifest: toml::from_str(&manifest).unwrap(),
    }
}

fn user(platform: &str) -> UserConfig {
    UserConfig {
        dir: "/user".into(),
        platform: toml::from_str(platform).unwrap(),
    }
}

/// Settles flags, environment, project and user, each written as TOML of `[platform]`.
fn check(flags: &str, environment: &str, in_project: &str, of_user: &str, expected: [&str; 3]) {
    let flags: Platform = toml::from_str(flags).unwrap();
    let environment: Platform = toml::from_str(environment).unwrap();
    let global = Global {
        control: flags.control,
        ca: flags.ca,
        token_file: flags.token_file,
        json: false,
    };
    let text = |path: Option<PathBuf>| path.map(|path| path.display().to_string());
    let variables = |name: &str| match name {
        "BRINK_CONTROL" => environment.control.clone(),
        "BRINK_CA" => text(environment.ca.clone()),
        "BRINK_TOKEN_FILE" => text(environment.token_file.clone()),
        _ => None,
    };
    let settings = combine(
        &global,
        &variables,
        Some(&project(in_project)),
        Some(&user(of_user)),
    )
    .unwrap();
    let actual = [
        settings.control.as_str().to_owned(),
        text(settings.ca).unwrap_or_default(),
        text(settings.token_file).unwrap_or_default(),
    ];
    assert_eq!(actual, expected);
}

#[test]
fn the_first_that_is_set_counts() {
    let all = |name: &str| {
        format!("control = \"https://{name}\"\nca = \"{name}.pem\"\ntoken_file = \"{name}.token\"")
    };
    let (f, e, p, u) = (all("flag"), all("env"), all("project"), all("user"));
    check(&f, &e, &p, &u, ["https://flag", "flag.pem", "flag.token"]);
    check("", &e, &p, &u, ["https://env", "env.pem", "env.token"]);
    check(
        "",
        "",
        &p,
        &u,
        [
            "https://project",
            "/project/project.pem",
            "/project/project.token",
        ],
    );
    check(
        "",
        "",
        "",
        &u,
        ["https://user", "/user/user.pem", "/user/user.token"],
    );
    check(
        "ca = \"x\"",
        "",
        &p,
        &u,
        ["https://project", "x", "/project/project.token"],
    );
}

#[test]
fn the_users_token_goes_to_the_users_control_only() {
    let u = "control = \"https://user\"\nca = \"ca.pem\"\ntoken_file = \"token\"";
    check(
        "",
        "",
        "control = \"https://elsewhere\"",
        u,
        ["https://elsewhere", "", ""],
    );
    check(
        "control = \"https://elsewhere\"",
        "",
        "",
        u,
        ["https://elsewhere", "", ""],
    );
    check(
        "control = \"https://user/\"",
        "",
        "",
        u,
        ["https://user", "/user/ca.pem", "/user/token"],
    );
}

#[test]
fn a_project_names_only_token_files_inside_itself() {
    for file in ["/home/a/.ssh/id_ed25519", "../secret", "a/../../b"] {
        let project = project(&format!("control = \"https://a\"\ntoken_file = \"{file}\""));
        let error = combine(&Global::default(), &|_| None, Some(&project), None).unwrap_err();
        assert!(
            error.to_string().contains("not inside the project"),
            "{error}"
        );
    }
}

#[test]
fn without_any_the_error_names_the_ways() {
    let error = combine(&Global::default(), &|_| None, None, None)
        .unwrap_err()
        .to_string();
    for way in ["--control", "BRINK_CONTROL", "brink login"] {
        assert!(error.contains(way), "{error}");
    }
}

#[test]
fn control_urls() {
    for (url, accepted) in [
        ("https://control.example", true),
        ("https://control.example:7400/", true),
        ("https://[::1]:7400", true),
        ("http://127.0.0.1:7400", true),
        ("http://localhost:1", true),
        ("http://[::1]:1", true),
        ("http://control.example", false),
        ("http://127.0.0.1.evil.example", false),
        ("https://a/b", false),
        ("https://a/?b", false),
        ("https://user@a", false),
        ("ftp://a", false),
        ("a", false),
        ("", false),
        ("/", false),
    ] {
        assert_eq!(url.parse::<ControlUrl>().is_ok(), accepted, "{url}");
    }
}

#[test]
fn directories() {
    let with = |xdg: &str, home: &str| {
        directory(&|name| {
            let value = if name == "HOME" { home } else { xdg };
            (!value.is_empty()).then(|| value.to_owned())
        })
    };
    assert_eq!(with("/x", "/h"), Some("/x/brink".into()));
    assert_eq!(with("x", "/h"), Some("/h/.config/brink".into()));
    assert_eq!(with("", "/h"), Some("/h/.config/brink".into()));
    assert_eq!(with("", ""), None);
}

#[test]
fn a_link_does_not_lead_out_of_a_project() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("project");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(root.path().join("secret"), "brk_secret").unwrap();
    std::fs::write(dir.join("own"), "brk_own").unwrap();
    std::os::unix::fs::symlink("../secret", dir.join("out")).unwrap();
    std::os::unix::fs::symlink("..", dir.join("up")).unwrap();
    std::os::unix::fs::symlink("own", dir.join("within")).unwrap();
    for (file, fits) in [
        ("own", true),
        ("within", true),
        ("missing", true),
        ("out", false),
        ("up/secret", false),
    ] {
        let project = Project {
            dir: dir.clone(),
            ..project("")
        };
        assert_eq!(inside(&project, Path::new(file)).is_ok(), fits, "{file}");
    }
}
