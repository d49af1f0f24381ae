//! From a list of addresses to a connection that the controller has accepted.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use placet_model::visible;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::AsyncBufRead as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Error;
use crate::error::chain;
use crate::tls::OtherAuthority;

/// For each address that a host name has: a host that is off does not answer at all, and the next
/// one is waiting to be tried.
const CONNECT: Duration = Duration::from_secs(5);

/// A controller that is busy with many nodes at once may take a while.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where to find a controller, and how to speak to it.
#[derive(Debug)]
pub(crate) struct Dialer {
    addresses: Vec<Address>,
    tls: Arc<ClientConfig>,
}

#[derive(Debug)]
struct Address {
    text: String,
    host: ServerName<'static>,
}

impl Dialer {
    pub(crate) fn new(addresses: &[String], tls: Arc<ClientConfig>) -> Result<Self, Error> {
        if addresses.is_empty() {
            return Err(Error::NoAddress);
        }
        let addresses = addresses
            .iter()
            .map(|text| {
                Address::parse(text).ok_or_else(|| Error::Address(visible(text).to_string()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { addresses, tls })
    }

    /// A connection to the first address that works.
    pub(crate) async fn dial(&self) -> Result<TlsStream<TcpStream>, Error> {
        let mut errors = Vec::new();
        for address in &self.addresses {
            match self.dial_one(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => errors.push(error),
            }
        }
        Err(most_telling(errors))
    }

    async fn dial_one(&self, address: &Address) -> Result<TlsStream<TcpStream>, Error> {
        let tcp = connect(&address.text)
            .await
            .map_err(|source| Error::Connect {
                address: address.text.clone(),
                source,
            })?;
        let handshake = async {
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            let stream = connector.connect(address.host.clone(), tcp).await?;
            accepted(stream).await
        };
        timeout(HANDSHAKE, handshake)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| explain(source, &address.text))
    }
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return None;
        }
        Some(Self {
            text: text.to_owned(),
            host: ServerName::try_from(bare.unwrap_or(host).to_owned()).ok()?,
        })
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let attempt = timeout(CONNECT, TcpStream::connect(address)).await;
        match attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Waits for the first bytes of the server, which are its HTTP/2 settings.
///
/// A TLS 1.3 client is done before the server has looked at its certificate; only this shows that
/// the server took it, and brings the reason if it did not.
async fn accepted(mut stream: TlsStream<TcpStream>) -> io::Result<TlsStream<TcpStream>> {
    let ended = poll_fn(|context| {
        Pin::new(&mut stream)
            .poll_fill_buf(context)
            .map_ok(<[u8]>::is_empty)
    })
    .await?;
    if ended {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(stream)
}

/// The error that says most: whoever holds a token for another authority need not read that a
/// second address refused the connection.
fn most_telling(mut errors: Vec<Error>) -> Error {
    let rank = |error: &Error| match error {
        Error::CertificateRefused { .. } => 0,
        Error::OtherAuthority { .. } => 1,
        Error::OtherName { .. } => 2,
        _ => 3,
    };
    errors.sort_by_key(rank);
    if errors.len() > 1 && rank(&errors[0]) == 3 {
        return Error::Unreachable {
            attempts: errors.iter().map(|error| chain(error)).collect(),
        };
    }
    errors.into_iter().next().unwrap_or(Error::NoAddress)
}

fn explain(source: io::Error, address: &str) -> Error {
    let address = address.to_owned();
    let cause = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            match other.0.downcast_ref::<OtherAuthority>() {
                Some(other) => Error::OtherAuthority {
                    address,
                    expected: other.expected,
                    presented: other
                        .presented
                        .map_or_else(|| "(unreadable)".to_owned(), |pin| pin.to_string()),
                },
                None => Error::Handshake { address, source },
            }
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Error::OtherName { address, source },
        Some(rustls::Error::AlertReceived(alert)) if is_about_certificate(*alert) => {
            Error::CertificateRefused { address, source }
        }
        _ => Error::Handshake { address, source },
    }
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    )
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for text in ["localhost:7070", "10.0.0.1:1", "[::1]:7070", "a.b-c:65535"] {
            assert!(Address::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "localhost",
            ":1",
            "a:",
            "a:65536",
            "::1:7070",
            "[::1]",
            "a b:1",
            "https://a:1",
            "a\0:1",
        ] {
            assert!(Address::parse(text).is_none(), "{text}");
        }
    }
}
