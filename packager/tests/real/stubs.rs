//! Stubs with real linkers, and programs that then run with the real libraries.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use placet_package::Elf;
use placet_packager::{ApiFile, Stub, StubError, Target};
use tempfile::TempDir;

use crate::debian::{debs, unpack};

/// A temporary folder in which commands run.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        let mut command = Command::new("sh");
        let output = command
            .args(["-c", line])
            .current_dir(self.0.path())
            .output();
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Writes `stub/NAME`, made from the library at `path`.
    fn stub(&self, name: &str, path: &Path) -> Vec<u8> {
        let bytes = stub(&fs::read(path).unwrap(), None);
        self.write(&format!("stub/{name}"), &bytes);
        bytes
    }
}

#[track_caller]
fn stub(library: &[u8], architecture: Option<&str>) -> Vec<u8> {
    let target = architecture.map(|name| Target::named(name).unwrap());
    let library = Elf::parse(library).unwrap().unwrap();
    let stub = Stub::of_library(&library, target.as_ref());
    let stub = stub.unwrap_or_else(|error| panic!("{error}"));
    stub.to_bytes().unwrap()
}

/// A library with everything that a symbol can be.
const LIBRARY: &str = r#"
#include <stdio.h>
char numbers[40] = "forty bytes of data, aligned";
__attribute__((aligned(64))) long aligned = 64;
extern long other_name __attribute__((weak, alias("aligned")));
const char *const name = "a constant";
__thread int of_thread = 7;
int set(long value) { aligned = value; numbers[0] = 'F'; return of_thread; }
int old_function(void) { return 1; }
int new_function(void) { return 2; }
__asm__(".symver old_function, function@STUB_1");
__asm__(".symver new_function, function@@STUB_2");
static int chosen(void) { return 11; }
static int (*choose(void))(void) { return chosen; }
int indirect(void) __attribute__((ifunc("choose")));
"#;
const VERSIONS: &str =
    "STUB_1 { global: numbers; aligned; other_name; name; of_thread; set; function; local: *; };
STUB_2 { global: function; indirect; } STUB_1;
STUB_3 { global: none; } STUB_2;";

fn library(bench: &Bench) -> PathBuf {
    bench.write("library.c", LIBRARY);
    bench.write("library.map", VERSIONS);
    bench.write("real/none", "");
    bench.run("gcc -O2 -fPIC -shared -Wl,-soname,libstub.so.1 -Wl,--version-script=library.map -o real/libstub.so.1 library.c");
    bench.path("real/libstub.so.1")
}

/// What `readelf` says of the dynamic symbols: name with version, type, binding, size, in a section
/// or not.
fn symbols(bench: &Bench, file: &Path) -> BTreeSet<String> {
    let text = bench.run(&format!("readelf -W --dyn-syms {}", file.display()));
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let defined =
        lines.filter(|words| words.len() >= 8 && words[0].ends_with(':') && words[6] != "UND");
    defined
        .filter(|words| words[4] != "LOCAL")
        .map(|words| {
            let section = if words[6] == "ABS" { "ABS" } else { "" };
            // That a symbol exists once in a process is the loader's business.
            let bind = words[4].replace("UNIQUE", "GLOBAL");
            format!("{} {} {bind} {} {section}", words[7], words[3], words[2])
        })
        .collect()
}

/// The versions that a file defines, with those that each continues.
fn versions(bench: &Bench, file: &Path) -> BTreeSet<String> {
    let text = bench.run(&format!("readelf -W -V {}", file.display()));
    let definitions = text
        .split("Version definition section")
        .nth(1)
        .unwrap_or("");
    let definitions = definitions
        .split("Version needs section")
        .next()
        .unwrap_or("");
    let mut found = BTreeSet::new();
    let mut name = String::new();
    for line in definitions.lines() {
        if let Some((_, rest)) = line.split_once("Name: ") {
            name = rest.trim().to_owned();
            found.insert(name.clone());
        } else if let Some((_, parent)) = line.split_once("Parent ") {
            let parent = parent.split_once(": ").unwrap().1.trim();
            found.insert(format!("{name} after {parent}"));
        }
    }
    found
}

#[track_caller]
fn check_equal(bench: &Bench, library: &Path, stub: &Path) {
    let soname = |file: &Path| {
        let text = bench.run(&format!("readelf -W -d {} | grep SONAME", file.display()));
        text.split('[').nth(1).unwrap().to_owned()
    };
    assert_eq!(soname(stub), soname(library));
    assert_eq!(versions(bench, stub), versions(bench, library));
    let (wanted, found) = (symbols(bench, library), symbols(bench, stub));
    let differ: Vec<_> = wanted.symmetric_difference(&found).take(9).collect();
    assert!(differ.is_empty() && !wanted.is_empty(), "{differ:?}");
}

const USER: &str = r#"
#include <stdio.h>
extern char numbers[40];
extern long aligned, other_name;
extern const char *const name;
extern __thread int of_thread;
int set(long value);
int function(void);
int indirect(void);
int main(void) {
    int thread = set(99);
    printf("%s %ld %ld %s %d %d %d %d\n", numbers, aligned, other_name, name, thread, of_thread, function(), indirect());
    return ((unsigned long)&aligned & 63) != 0;
}
"#;
const OUTPUT: &str = "Forty bytes of data, aligned 99 99 a constant 7 7 2 11\n";

#[test]
fn a_program_linked_against_a_stub_runs_with_the_library() {
    let bench = Bench::new();
    let library = library(&bench);
    bench.stub("libstub.so", &library);
    check_equal(&bench, &library, &bench.path("stub/libstub.so"));
    bench.write("user.c", USER);
    let linkers = ["bfd", "gold", "lld"];
    let there = linkers.iter().filter(|it| {
        let name = format!("/usr/bin/ld.{it}");
        Path::new(&name).exists()
    });
    let mut checked = 0;
    for linker in there {
        for options in [
            "-no-pie -fno-pic",
            "-fPIE -pie",
            "-no-pie -fno-pic -Wl,-z,now",
        ] {
            bench.run(&format!(
                "gcc -O2 -fuse-ld={linker} {options} -o user user.c -Lstub -lstub"
            ));
            assert_eq!(
                bench.run("LD_LIBRARY_PATH=real ./user"),
                OUTPUT,
                "{linker} {options}"
            );
            checked += 1;
        }
    }
    assert!(checked >= 3);
    let copied =
        bench.run("gcc -O2 -no-pie -fno-pic -o user user.c -Lstub -lstub; readelf -rW user");
    assert!(copied.contains("R_X86_64_COPY"), "{copied}");
    // The old version is there for those who ask for it.
    let old = USER.replace(
        "int main",
        "__asm__(\".symver function, function@STUB_1\");\nint main",
    );
    bench.write("user.c", old);
    bench.run("gcc -O2 -o user user.c -Lstub -lstub");
    assert_eq!(
        bench.run("LD_LIBRARY_PATH=real ./user"),
        OUTPUT.replace(" 2 ", " 1 ")
    );
    // What the library does not export is missed as with the library.
    bench.write(
        "user.c",
        "int nothing(void); int main(void) { return nothing(); }",
    );
    bench.run("! gcc -o user user.c -Lstub -lstub 2> said; grep -q 'undefined reference to .nothing' said");
}

const DIGEST: &str = r#"
#include <stdio.h>
#include <string.h>
typedef struct evp_md_st EVP_MD;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;
const EVP_MD *EVP_sha256(void);
int EVP_Digest(const void *data, unsigned long count, unsigned char *md, unsigned int *size, const EVP_MD *type, void *engine);
const void *TLS_method(void);
SSL_CTX *SSL_CTX_new(const void *method);
SSL *SSL_new(SSL_CTX *context);
void *BIO_new(const void *method);
const void *BIO_s_mem(void);
void SSL_set_bio(SSL *ssl, void *read, void *write);
void SSL_set_connect_state(SSL *ssl);
int SSL_do_handshake(SSL *ssl);
int SSL_get_error(const SSL *ssl, int ret);
int BIO_read(void *bio, void *data, int size);
int main(void) {
    unsigned char md[64], hello[4096];
    unsigned int size = 0;
    EVP_Digest("placet", 6, md, &size, EVP_sha256(), 0);
    for (unsigned int i = 0; i < size; i++) printf("%02x", md[i]);
    SSL *ssl = SSL_new(SSL_CTX_new(TLS_method()));
    void *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    int wants_read = SSL_get_error(ssl, SSL_do_handshake(ssl)) == 2;
    int sent = BIO_read(out, hello, sizeof hello);
    printf(" %d %d\n", wants_read, sent > 100 && hello[0] == 22 && hello[5] == 1);
    return 0;
}
"#;

/// A TLS client greets its server, and a digest is right, with Debian's libssl3 in place of the stub.
#[test]
fn a_program_linked_against_a_stub_of_libssl_runs_with_libssl() {
    let Some(packages) = debs(&["libssl3"]) else {
        return;
    };
    let bench = Bench::new();
    unpack(&packages[0], &bench.path("debian"));
    let folder = bench.path("debian/usr/lib/x86_64-linux-gnu");
    for name in ["ssl", "crypto"] {
        let library = folder.join(format!("lib{name}.so.3"));
        let stub = bench.stub(&format!("lib{name}.so"), &library);
        check_equal(&bench, &library, &bench.path(&format!("stub/lib{name}.so")));
        assert!((stub.len() as u64) < fs::metadata(&library).unwrap().len() / 2);
    }
    bench.write("user.c", DIGEST);
    bench.run("gcc -o user user.c -Lstub -lssl -lcrypto");
    let needed = bench.run("readelf -dW user");
    assert!(needed.contains("[libssl.so.3]") && needed.contains("[libcrypto.so.3]"));
    let said = bench.run(&format!("LD_LIBRARY_PATH={} ./user", folder.display()));
    let digest = placet_model::Digest::of(b"placet").hex();
    assert_eq!(said, format!("{digest} 1 1\n"));
}

#[test]
fn stubs_of_the_largest_libraries_say_what_those_say() {
    let bench = Bench::new();
    for name in [
        "libc.so.6",
        "libstdc++.so.6",
        "libm.so.6",
        "ld-linux-x86-64.so.2",
    ] {
        let library = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
        if library.exists() {
            bench.stub(name, &library);
            check_equal(&bench, &library, &bench.path(&format!("stub/{name}")));
        }
    }
}

/// Debian's binutils for other processors: package, prefix of programs, Linux name, and the class
/// and byte order that readelf tells.
const FOREIGN: [(&str, &str, &str); 6] = [
    ("binutils-aarch64-linux-gnu", "aarch64-linux-gnu", "aarch64"),
    ("binutils-arm-linux-gnueabihf", "arm-linux-gnueabihf", "arm"),
    ("binutils-mips-linux-gnu", "mips-linux-gnu", "mips"),
    (
        "binutils-powerpc64le-linux-gnu",
        "powerpc64le-linux-gnu",
        "ppc64le",
    ),
    ("binutils-riscv64-linux-gnu", "riscv64-linux-gnu", "riscv64"),
    ("binutils-s390x-linux-gnu", "s390x-linux-gnu", "s390x"),
];

/// Of a library whose data have one size everywhere, except those with pointers.
#[test]
fn foreign_linkers_take_foreign_stubs() {
    let names = FOREIGN.map(|(package, ..)| package);
    let Some(packages) = debs(&names) else {
        return;
    };
    let bench = Bench::new();
    let library = library(&bench);
    let wide = fs::read(&library).unwrap();
    bench.write(
        "code.c",
        LIBRARY
            .lines()
            .filter(|it| {
                !it.contains("aligned")
                    && !it.contains("name")
                    && !it.contains("of_thread")
                    && !it.contains("numbers")
            })
            .collect::<Vec<_>>()
            .join("\n"),
    );
    bench.run("gcc -O2 -fPIC -shared -Wl,-soname,libstub.so.1 -Wl,--version-script=library.map -o code.so code.c");
    let code = fs::read(bench.path("code.so")).unwrap();
    for ((_, prefix, architecture), package) in FOREIGN.into_iter().zip(packages) {
        unpack(&package, &bench.path(prefix));
        let is_64 = !matches!(architecture, "arm" | "mips");
        let bytes = stub(if is_64 { &wide } else { &code }, Some(architecture));
        bench.write("stub/libforeign.so", &bytes);
        let mut source = ".globl _start\n_start: .dc.a function\n.dc.a indirect\n".to_owned();
        if is_64 {
            source += ".dc.a numbers\n";
        }
        bench.write("user.s", format!(".data\n{source}"));
        let run = |program: &str, line: &str| {
            let libraries = bench.path(prefix).join("usr/lib/x86_64-linux-gnu");
            let program = bench
                .path(prefix)
                .join(format!("usr/bin/{prefix}-{program}"));
            bench.run(&format!(
                "LD_LIBRARY_PATH={} {} {line}",
                libraries.display(),
                program.display()
            ))
        };
        run("as", "-o user.o user.s");
        run(
            "ld",
            "--fatal-warnings -e _start -o user user.o stub/libforeign.so",
        );
        let said = run("readelf", "-W -a user");
        assert!(said.contains("[libstub.so.1]"), "{architecture}: {said}");
        for name in ["function@STUB_2", "indirect@STUB_2"] {
            assert!(said.contains(name), "{architecture}: {said}");
        }
        let own = run("readelf", "-W -h -l -d -s -V stub/libforeign.so 2>&1");
        assert!(
            !own.contains("Warning") && !own.contains("Error"),
            "{architecture}: {own}"
        );
    }
}

#[test]
fn stubs_of_one_library_are_equal_and_a_stub_is_its_own_stub() {
    let bench = Bench::new();
    let library = fs::read(library(&bench)).unwrap();
    for architecture in [None, Some("aarch64"), Some("s390x")] {
        let first = stub(&library, architecture);
        assert_eq!(stub(&library, architecture), first);
        let again = stub(&first, None);
        bench.write("first", &first);
        bench.write("again", &again);
        check_equal(&bench, &bench.path("first"), &bench.path("again"));
    }
}

#[test]
fn what_gives_no_stub_is_refused_with_what_to_do() {
    let bench = Bench::new();
    let library = fs::read(library(&bench)).unwrap();
    let refused = |bytes: &[u8], target: Option<&str>| {
        let target = target.map(|name| Target::named(name).unwrap());
        let library = Elf::parse(bytes).unwrap().unwrap();
        Stub::of_library(&library, target.as_ref()).unwrap_err()
    };
    let error = refused(&library, Some("mips")).to_string();
    assert!(
        error.contains("for x86_64") && error.contains("for mips"),
        "{error}"
    );
    bench.write("a.c", "int f(void) { return 1; }");
    bench.run("gcc -shared -fPIC -o a.so a.c; gcc -shared -fPIC -nostdlib -Wl,-soname,b.so -fvisibility=hidden -o b.so a.c");
    assert_eq!(
        refused(&fs::read(bench.path("a.so")).unwrap(), None),
        StubError::NoSoname
    );
    assert_eq!(
        refused(&fs::read(bench.path("b.so")).unwrap(), None),
        StubError::Empty
    );
    let api = "name: a\nversion: \"1\"\nsoname: liba.so.1\nsymbols:\n  - {name: a, kind: object, size: 18446744073709551615}\n";
    let api = ApiFile::parse(api, Path::new("a.yaml")).unwrap();
    let stub = Stub::of_api(&api, &Target::named("i686").unwrap()).unwrap();
    let error = stub.to_bytes().unwrap_err();
    assert!(matches!(error, StubError::Size { .. }), "{error}");
    let api = ApiFile {
        soname: None,
        ..api
    };
    let error = Stub::of_api(&api, &Target::host().unwrap()).unwrap_err();
    assert_eq!(error, StubError::NoSoname);
    let error = Target::named("vax").unwrap_err().to_string();
    assert!(
        error.contains("`vax`") && error.contains("x86_64"),
        "{error}"
    );
}

/// An API file has the sizes that a processor without a library needs.
#[test]
fn a_program_linked_against_the_stub_of_an_api_file_runs_with_the_library() {
    let bench = Bench::new();
    let library = library(&bench);
    let bytes = fs::read(&library).unwrap();
    let api = ApiFile::of_library(&Elf::parse(&bytes).unwrap().unwrap(), "libstub.so.1").unwrap();
    let api = ApiFile::parse(&api.to_yaml(), Path::new("api.yaml")).unwrap();
    let made = |name: &str| {
        let stub = Stub::of_api(&api, &Target::named(name).unwrap());
        stub.unwrap().to_bytes().unwrap()
    };
    bench.write("stub/libstub.so", made("x86_64"));
    assert_eq!(made("x86_64"), made("x86_64"));
    bench.write("user.c", USER.replace("aligned, other_name", "aligned"));
    bench.run("sed -i 's/ %ld %s/ %s/; s/aligned, other_name,/aligned,/' user.c");
    for options in ["-no-pie -fno-pic", "-fPIE -pie"] {
        bench.run(&format!("gcc -O2 {options} -o user user.c -Lstub -lstub"));
        let said = bench.run("LD_LIBRARY_PATH=real ./user");
        assert_eq!(said, OUTPUT.replace("99 99", "99"), "{options}");
    }
    let found = versions(&bench, &bench.path("stub/libstub.so"));
    assert_eq!(found, versions(&bench, &library));
    for name in ["mips", "s390x", "aarch64_be", "ppc"] {
        bench.write("foreign.so", made(name));
        assert_eq!(versions(&bench, &bench.path("foreign.so")), found, "{name}");
    }
}
