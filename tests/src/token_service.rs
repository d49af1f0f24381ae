//! The token service that a registry sends its clients to: who shows a name and its password, or an
//! identity token, gets a signed token for the repositories asked for, which the registry checks.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{Certificate, CertificateParams, KeyPair, SigningKey as _};
use serde_json::{Value, json};

use crate::registry::{REGISTRY_PASSWORD, REGISTRY_USER};

/// Somebody with a password of the same text who may log in, and read nothing.
pub const REGISTRY_GUEST: &str = "guest";
/// An identity token of [`REGISTRY_USER`].
pub const REGISTRY_IDENTITY: &str = "identity.of.ann";
/// For whom and by whom tokens are.
pub(crate) const SERVICE: &str = "placet-tests";

/// A token service. It takes requests as long as the program runs.
#[derive(Debug)]
pub(crate) struct TokenService {
    address: SocketAddr,
    certificate: String,
}

/// What signs tokens.
struct Signer {
    key: KeyPair,
    certificate: Certificate,
}

impl TokenService {
    pub(crate) fn start() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let parameters = CertificateParams::new([SERVICE.to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let service = Self {
            address: listener.local_addr().expect("an address"),
            certificate: certificate.pem(),
        };
        let signer = Signer { key, certificate };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = signer.answer(&stream) {
                    eprintln!("the token service cannot answer: {error}");
                }
            }
        });
        service
    }

    /// Where it is asked.
    pub(crate) fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// The certificate that its tokens are checked with, in PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }
}

impl Signer {
    fn answer(&self, stream: &TcpStream) -> io::Result<()> {
        let request = Request::read(stream)?;
        let (status, body) = match request.who() {
            Some(who) => ("200 OK", json!({"token": self.token(&who, &request)})),
            None => (
                "401 Unauthorized",
                json!({"errors": [{"code": "UNAUTHORIZED", "message": "wrong name or password"}]}),
            ),
        };
        let body = body.to_string();
        let length = body.len();
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }

    /// A JSON Web Token (RFC 7519) with the claims that CNCF Distribution wants.
    fn token(&self, who: &str, request: &Request) -> String {
        let chain = [STANDARD.encode(self.certificate.der())];
        let header = json!({"alg": "EdDSA", "typ": "JWT", "x5c": chain});
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({
            "iss": SERVICE, "aud": SERVICE, "sub": who, "jti": "1",
            "iat": now, "nbf": now - 60, "exp": now + 300,
            "access": if who == REGISTRY_USER { request.access() } else { Vec::new() },
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(text.as_bytes()).expect("a signature");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What a client asks for.
struct Request {
    /// Of the query or of the form.
    parameters: Vec<(String, String)>,
    authorization: String,
}

impl Request {
    fn read(stream: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut authorization, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => value.clone_into(&mut authorization),
                "content-length" => length = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut form = vec![0; length];
        reader.read_exact(&mut form)?;
        let form = String::from_utf8_lossy(&form);
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').chain(form.split('&'));
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        Ok(Self {
            parameters: pairs
                .map(|(key, value)| (key.to_owned(), decoded(value)))
                .collect(),
            authorization,
        })
    }

    fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        let pairs = self.parameters.iter().filter(move |(name, _)| name == key);
        pairs.map(|(_, value)| value.as_str())
    }

    /// Who asks, if that can be believed.
    fn who(&self) -> Option<String> {
        if self
            .values("refresh_token")
            .any(|it| it == REGISTRY_IDENTITY)
        {
            return Some(REGISTRY_USER.to_owned());
        }
        let shown = self.authorization.strip_prefix("Basic ")?;
        let shown = String::from_utf8(STANDARD.decode(shown).ok()?).ok()?;
        let (name, word) = shown.split_once(':')?;
        let is_known = [REGISTRY_USER, REGISTRY_GUEST].contains(&name);
        (is_known && word == REGISTRY_PASSWORD).then(|| name.to_owned())
    }

    /// Each `scope` reads `type:name:action,action`.
    fn access(&self) -> Vec<Value> {
        let scopes = self.values("scope").filter_map(|scope| {
            let (kind, rest) = scope.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            let actions: Vec<_> = actions.split(',').collect();
            Some(json!({"type": kind, "name": name, "actions": actions}))
        });
        scopes.collect()
    }
}

/// The text of a parameter (`application/x-www-form-urlencoded`).
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| char::from(byte.unwrap_or_default()).to_digit(16);
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (hex(rest.next()), hex(rest.next()));
                let value = high.unwrap_or_default() * 16 + low.unwrap_or_default();
                u8::try_from(value).unwrap_or_default()
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
