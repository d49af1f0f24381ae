//! What is in an image.

use std::path::Path;

use anyhow::bail;

use super::tar::Archive;

/// The user that programs run as, unless told otherwise.
pub(super) const USER: &str = "65532:65532";
const USER_NUMBER: u32 = 65_532;
/// Where programs look for certificate authorities.
pub(super) const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

const PASSWD: &str = "root:x:0:0:root:/:/nologin
placet:x:65532:65532:placet:/var/lib/placet:/nologin
";
const GROUP: &str = "root:x:0:
placet:x:65532:
";
const RESOLVER: &str = "hosts: files dns
";
/// The crate that the authorities come from, unless told otherwise.
pub(super) const PINNED_IN: &str = "webpki-root-certs";
/// Fewer is no set of authorities that the world trusts, but a file that was cut off.
const AUTHORITIES_LEAST: usize = 10;

/// The certificate authorities that Mozilla trusts, as Cargo.lock pins them: the same on every
/// machine, whatever is installed there.
pub(super) fn bundled_authorities() -> Vec<u8> {
    let certificates = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let blocks: Vec<_> = certificates
        .map(|certificate| pem::Pem::new("CERTIFICATE", certificate.as_ref()))
        .collect();
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_many_config(&blocks, lines).into_bytes()
}

/// The certificate authorities of a file; refused unless they are a whole set.
pub(super) fn authorities(path: &Path) -> anyhow::Result<Vec<u8>> {
    let advice = "name another PEM file with --ca-file, or leave it out for those that Mozilla trusts; without authorities the programs in the image could reach no git host and no registry";
    let Ok(bytes) = std::fs::read(path) else {
        bail!(
            "there are no certificate authorities in {}: {advice}",
            path.display()
        );
    };
    let Ok(blocks) = pem::parse_many(&bytes) else {
        bail!("{} is not PEM: {advice}", path.display());
    };
    let certificates = blocks.iter().filter(|block| block.tag() == "CERTIFICATE");
    let found = certificates.count();
    if found < AUTHORITIES_LEAST {
        bail!(
            "{} has {found} certificate authorities, and a whole set has more than {AUTHORITIES_LEAST}: {advice}",
            path.display()
        );
    }
    Ok(bytes)
}

/// The only layer.
pub(super) fn layer(
    name: &str,
    program: &[u8],
    authorities: &[u8],
    time: i64,
) -> anyhow::Result<Vec<u8>> {
    let mut archive = Archive::new(time);
    archive.folder("etc", 0o755, 0)?;
    archive.file("etc/group", 0o644, GROUP.as_bytes())?;
    archive.file("etc/nsswitch.conf", 0o644, RESOLVER.as_bytes())?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    archive.folder("etc/ssl", 0o755, 0)?;
    archive.folder("etc/ssl/certs", 0o755, 0)?;
    archive.file(AUTHORITIES, 0o644, authorities)?;
    archive.file(name, 0o755, program)?;
    archive.folder("run", 0o755, 0)?;
    archive.folder("run/placet", 0o755, USER_NUMBER)?;
    archive.folder("tmp", 0o1777, 0)?;
    archive.folder("var", 0o755, 0)?;
    archive.folder("var/lib", 0o755, 0)?;
    archive.folder("var/lib/placet", 0o700, USER_NUMBER)?;
    Ok(archive.finish())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_image_without_authorities_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let one = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let refused = |content: Option<String>| {
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            authorities(&path).unwrap_err().to_string()
        };
        assert!(refused(None).contains("there are no certificate authorities"));
        assert!(refused(Some(String::new())).contains("has 0 certificate authorities"));
        assert!(refused(Some(one.repeat(3))).contains("name another PEM file"));
        fs::write(&path, one.repeat(20)).unwrap();
        assert_eq!(authorities(&path).unwrap().len(), one.len() * 20);
    }

    #[test]
    fn the_bundled_authorities_are_a_whole_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        fs::write(&path, bundled_authorities()).unwrap();
        assert_eq!(authorities(&path).unwrap(), bundled_authorities());
    }

    #[test]
    fn the_same_content_gives_the_same_layer() {
        let layer = || layer("placetd", b"program", b"authorities", 1_000).unwrap();
        assert_eq!(layer(), layer());
        assert_eq!(layer().len() % 512, 0);
    }
}
