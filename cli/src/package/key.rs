//! `placet package key`: pairs of keys that packages are signed and verified with.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use placet_model::PublicKey;
use placet_packager::{Passphrase, SigningKey};
use serde_json::json;
use zeroize::Zeroizing;

use crate::arguments::Common;
use crate::output::{self, Answer, Format};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a pair: a private key that signs, encrypted with a passphrase, and its public key.
    Generate(Generate),
    /// Show the public key of a file that holds either key of a pair.
    Show(Show),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package key generate                            placet.key and placet.pub, asks for a passphrase
  placet package key generate keys/release --passphrase-file secret

The passphrase stands in a file, in PLACET_PASSPHRASE, or is asked for; never on the command line.")]
pub(crate) struct Generate {
    /// What the two files are named, without `.key` and `.pub`. Files that are there stay.
    #[arg(default_value = "placet")]
    pub(crate) name: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  placet package key show placet.pub
  placet package key show placet.key          Asks for the passphrase
  placet package key show cosign.pub -o json")]
pub(crate) struct Show {
    /// The file, PEM.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
}

/// Where the passphrase of a private key comes from.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PassphraseSource {
    /// File with the passphrase of the private key [default: `PLACET_PASSPHRASE`, or it is asked for].
    #[arg(long, value_name = "PATH")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

const VARIABLE: &str = "PLACET_PASSPHRASE";
/// No key is larger.
const FILE_MOST: u64 = 64 << 10;

/// `placet package key`.
pub(crate) fn run(command: &KeyCommand, common: &Common) -> anyhow::Result<Answer> {
    match command {
        KeyCommand::Generate(arguments) => generate(arguments, common),
        KeyCommand::Show(arguments) => {
            let text = read(&arguments.file)?;
            let key = match text.parse::<PublicKey>() {
                Err(placet_model::KeyError::Private) => {
                    open(&arguments.file, &text, &arguments.passphrase)?.public()
                }
                key => key.with_context(|| refused(&arguments.file))?,
            };
            show(&key, common.output)
        }
    }
}

fn generate(arguments: &Generate, common: &Common) -> anyhow::Result<Answer> {
    let file = |ending: &str| {
        let mut name = arguments.name.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let (private, public) = (file(".key"), file(".pub"));
    for file in [&private, &public] {
        ensure!(
            !file.exists(),
            "`{}` is there already and is not overwritten; name another pair",
            file.display()
        );
    }
    let passphrase = new_passphrase(&arguments.passphrase)?;
    let key = SigningKey::generate();
    write(&private, key.to_pem(&passphrase).as_bytes(), 0o600)?;
    write(&public, key.public().pem().as_bytes(), 0o644)?;
    anstream::eprintln!(
        "wrote {} (keep it secret) and {}",
        private.display(),
        public.display()
    );
    show(&key.public(), common.output)
}

fn show(key: &PublicKey, format: Format) -> anyhow::Result<Answer> {
    if format == Format::Table {
        anstream::println!("{}", key.id());
        anstream::print!("{}", key.pem());
    } else {
        output::print(&json!({"id": key.id(), "publicKey": key.pem()}), format)?;
    }
    Ok(Answer::Done)
}

/// All of it or nothing, and nothing that is there is replaced.
fn write(file: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let failed = || format!("failed to write {}", file.display());
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut draft = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .with_context(failed)?;
    draft.write_all(bytes).with_context(failed)?;
    draft.as_file().sync_all().with_context(failed)?;
    draft.persist_noclobber(file).with_context(failed)?;
    Ok(())
}

/// Reads public keys, one a file.
pub(crate) fn public_keys(files: &[PathBuf]) -> anyhow::Result<Vec<PublicKey>> {
    let keys = files.iter().map(|file| {
        let key = read(file)?.parse::<PublicKey>();
        key.with_context(|| refused(file))
    });
    keys.collect()
}

/// Reads a private key, and asks for its passphrase if need be.
pub(crate) fn signing_key(file: &Path, source: &PassphraseSource) -> anyhow::Result<SigningKey> {
    open(file, &read(file)?, source)
}

fn open(file: &Path, text: &str, source: &PassphraseSource) -> anyhow::Result<SigningKey> {
    let passphrase = if SigningKey::is_encrypted(text) {
        let prompt = format!("Passphrase of {}: ", file.display());
        given(source)?.map_or_else(|| ask(&prompt), Ok)?
    } else {
        Passphrase::default()
    };
    SigningKey::from_pem(text, &passphrase).with_context(|| refused(file))
}

fn refused(file: &Path) -> String {
    format!("`{}` is not the key that is needed", file.display())
}

fn read(file: &Path) -> anyhow::Result<Zeroizing<String>> {
    let failed = || format!("failed to read {}", file.display());
    let size = fs::metadata(file).with_context(failed)?.len();
    ensure!(
        size <= FILE_MOST,
        "`{}` is too large for a key",
        file.display()
    );
    Ok(Zeroizing::new(
        fs::read_to_string(file).with_context(failed)?,
    ))
}

/// The passphrase that a file or the environment holds.
fn given(source: &PassphraseSource) -> anyhow::Result<Option<Passphrase>> {
    let text = match &source.passphrase_file {
        Some(file) => {
            let text = fs::read_to_string(file);
            Some(text.with_context(|| format!("failed to read {}", file.display()))?)
        }
        None => match std::env::var(VARIABLE) {
            Ok(text) => Some(text),
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => bail!("{VARIABLE} is not UTF-8 text"),
        },
    };
    let text = text.map(Zeroizing::new);
    Ok(text.map(|text| Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())))
}

fn ask(prompt: &str) -> anyhow::Result<Passphrase> {
    ensure!(
        std::io::stdin().is_terminal(),
        "the private key is encrypted, and nobody can be asked for its passphrase; give --passphrase-file or {VARIABLE}"
    );
    let text = rpassword::prompt_password(prompt);
    Ok(Zeroizing::new(
        text.context("failed to read the passphrase")?,
    ))
}

fn new_passphrase(source: &PassphraseSource) -> anyhow::Result<Passphrase> {
    let passphrase = if let Some(passphrase) = given(source)? {
        passphrase
    } else {
        let first = ask("Passphrase for the new key: ")?;
        ensure!(
            ask("The same again: ")? == first,
            "the two are not the same"
        );
        first
    };
    ensure!(
        !passphrase.is_empty(),
        "the passphrase is empty, which would leave the key open to whoever reads the file"
    );
    Ok(passphrase)
}
