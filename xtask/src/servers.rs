//! The programs of other people that the tests run, built from the Go modules in `tests/servers`
//! and kept in the user's cache, so that a fresh clone on the same machine builds none of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

/// A program, the module that it is built in, its package, and what it is linked with.
struct Program {
    name: &'static str,
    module: &'static str,
    package: &'static str,
    flags: &'static [&'static str],
}

const STRIPPED: &[&str] = &["-ldflags", "-s -w"];

/// Without these the servers say that they are of no version at all.
const VERSIONED: &[&str] = &[
    "-tags=selinux,notest,grpcnotrace",
    "-ldflags",
    "-s -w \
     -X k8s.io/component-base/version.gitVersion=v1.36.3 \
     -X k8s.io/component-base/version.gitMajor=1 \
     -X k8s.io/component-base/version.gitMinor=36 \
     -X k8s.io/client-go/pkg/version.gitVersion=v1.36.3 \
     -X k8s.io/client-go/pkg/version.gitMajor=1 \
     -X k8s.io/client-go/pkg/version.gitMinor=36",
];

const PROGRAMS: &[Program] = &[
    Program {
        name: "kube-apiserver",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        flags: VERSIONED,
    },
    Program {
        name: "kubectl",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kubectl",
        flags: VERSIONED,
    },
    Program {
        name: "etcd",
        module: "kubernetes",
        package: "go.etcd.io/etcd/server/v3",
        flags: STRIPPED,
    },
    Program {
        name: "registry",
        module: "registry",
        package: "github.com/distribution/distribution/v3/cmd/registry",
        flags: STRIPPED,
    },
    Program {
        name: "crane",
        module: "clients",
        package: "github.com/google/go-containerregistry/cmd/crane",
        flags: STRIPPED,
    },
    Program {
        name: "oras",
        module: "clients",
        package: "oras.land/oras/cmd/oras",
        flags: STRIPPED,
    },
    Program {
        name: "cosign",
        module: "cosign",
        package: "github.com/sigstore/cosign/v3/cmd/cosign",
        flags: STRIPPED,
    },
    Program {
        name: "referrers",
        module: "cosign",
        package: "./referrers",
        flags: STRIPPED,
    },
    Program {
        name: "helm",
        module: "helm",
        package: "helm.sh/helm/v4/cmd/helm",
        flags: STRIPPED,
    },
];

/// True if the programs can be built here.
pub(crate) fn can_build() -> bool {
    Command::new("go")
        .arg("version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Builds every program that is missing; the folder that has them all, but for those that
/// `KUBEBUILDER_ASSETS` brings. A program is built anew only where its own module requires something
/// else than before.
pub(crate) fn prepare(root: &Path) -> anyhow::Result<PathBuf> {
    let modules = root.join("tests/servers");
    let cache = cache()?;
    let all: Vec<_> = PROGRAMS.iter().map(|program| program.module).collect();
    let name = version(&modules, &all)?;
    let (folder, built) = (cache.join(&name), cache.join("built"));
    for folder in [&folder, &built] {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to make {}", folder.display()))?;
    }
    for program in PROGRAMS {
        let path = folder.join(program.name);
        if !path.is_file() && !is_given(program.name) {
            let version = version(&modules, &[program.module])?;
            let whole = built.join(format!("{}-{version}", program.name));
            if !whole.is_file() {
                build(program, &modules, &whole)?;
            }
            fs::hard_link(&whole, &path)
                .with_context(|| format!("failed to make {}", path.display()))?;
        }
    }
    let current = cache.join("current");
    fs::write(&current, &name).with_context(|| format!("failed to write {}", current.display()))?;
    Ok(folder)
}

/// True if the folder that `KUBEBUILDER_ASSETS` names has this program.
fn is_given(name: &str) -> bool {
    env::var_os("KUBEBUILDER_ASSETS").is_some_and(|folder| Path::new(&folder).join(name).is_file())
}

fn build(program: &Program, modules: &Path, path: &Path) -> anyhow::Result<()> {
    println!("building {} (once on this machine)", program.name);
    // What is there under its name is whole, whoever else builds it at this moment.
    let draft = path.with_extension(format!("{}.new", process::id()));
    let status = Command::new("go")
        .args(["build", "-trimpath"])
        .args(program.flags)
        .arg("-o")
        .arg(&draft)
        .arg(program.package)
        .current_dir(modules.join(program.module))
        .env("CGO_ENABLED", "0")
        .status()
        .context("failed to start go")?;
    if !status.success() {
        bail!(
            "`go build {}` failed; the tests on Kubernetes need it",
            program.package
        );
    }
    fs::rename(&draft, path).with_context(|| format!("failed to write {}", path.display()))
}

/// What these modules require, in short.
fn version(modules: &Path, names: &[&str]) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    for name in names {
        let own = PROGRAMS.iter().filter(|program| program.module == *name);
        let sources = own.filter_map(|program| program.package.strip_prefix("./"));
        let sources = sources.map(|folder| format!("{folder}/main.go"));
        let required = ["go.mod", "go.sum"].map(str::to_owned);
        for file in required.into_iter().chain(sources) {
            let path = modules.join(name).join(file);
            let text =
                fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
            hasher.update(text);
        }
    }
    let digest = hasher.finalize();
    let short = digest
        .first_chunk::<8>()
        .map_or(0, |start| u64::from_be_bytes(*start));
    Ok(format!("{short:016x}"))
}

fn cache() -> anyhow::Result<PathBuf> {
    let named = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = named
        .or_else(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("placet/servers"))
}
