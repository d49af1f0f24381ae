//! Builds whose package file names API files.

use std::process::Command;

use placet_model::{Api, Module};
use placet_packager::Built;

use crate::workshop::Workshop;

const PACKAGE: &str = "\
name: greet
version: 1.0.0
apis:
  - greet.api.yaml
modules:
  - path: lib/libgreet.so.1
    source: libgreet.so.1
    provides: [{name: greeting, version: \"1\"}]
  - path: bin/greetd
    source: greetd
  - path: bin/other
    source: other
";

const API: &str = "\
name: greeting
version: \"1\"
soname: libgreet.so.1
versions: [{name: GREET_1}]
symbols:
  - {name: greet, version: GREET_1}
  - {name: greeting, version: GREET_1, kind: object, size: 8}
";

/// A library, a program that uses it, and one that does not.
fn workshop(api: &str, soname: &str) -> Workshop {
    let workshop = Workshop::new(PACKAGE);
    let library = "const char *greeting = \"Hello\"; void greet(void) {}";
    workshop
        .write("greet.api.yaml", api)
        .write("greet.c", library)
        .write(
            "greet.map",
            "GREET_1 { global: greet; greeting; local: *; };",
        )
        .write("greetd.c", "void greet(void); int main(void) { greet(); }")
        .write("other.c", "int main(void) { return 0; }");
    let lines = format!(
        "cc -shared -fPIC -Wl,-soname,{soname} -Wl,--version-script=greet.map -o libgreet.so.1 greet.c
        cc -o greetd greetd.c ./libgreet.so.1
        cc -o other other.c"
    );
    let mut command = Command::new("sh");
    command.args(["-ec", &lines]).current_dir(workshop.path(""));
    assert!(command.status().unwrap().success());
    workshop
}

fn module<'a>(built: &'a Built, path: &str) -> &'a Module {
    let mut modules = built.config.modules.iter();
    modules.find(|module| module.path.as_str() == path).unwrap()
}

#[test]
fn who_imports_a_function_of_an_api_uses_it() {
    let built = workshop(API, "libgreet.so.1").built();
    let api = Api {
        name: "greeting".to_owned(),
        version: "1".to_owned(),
    };
    assert!(module(&built, "bin/greetd").uses.contains(&api));
    assert!(module(&built, "bin/other").uses.is_empty());
    assert!(module(&built, "lib/libgreet.so.1").uses.is_empty());
}

#[test]
fn who_provides_an_api_has_to_export_all_of_it() {
    let more = format!("{API}  - {{name: greet_all, version: GREET_1}}\n  - {{name: wave}}\n");
    let error = workshop(&more, "libgreet.so.1").refused(
        "it provides API `greeting 1` and does not export `greet_all@@GREET_1`, `wave`; export that",
    );
    assert!(error.contains("package.yaml:6:"), "{error}");
    workshop(API, "libgreet.so.2").refused(
        "it provides API `greeting 1`, whose users look for `libgreet.so.1`, and its soname is `libgreet.so.2`",
    );
}

#[test]
fn an_api_file_that_is_wrong_or_missing_is_named() {
    let built = workshop(&API.replace("size: 8", "size: x"), "libgreet.so.1").build();
    let error = built.unwrap_err().to_string();
    assert!(error.contains("greet.api.yaml:7:"), "{error}");
    let workshop = workshop(API, "libgreet.so.1");
    std::fs::remove_file(workshop.path("greet.api.yaml")).unwrap();
    let error = workshop.build().unwrap_err().to_string();
    assert!(error.contains("greet.api.yaml"), "{error}");
}
