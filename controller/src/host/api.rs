//! The three interfaces by which hosts take statuses.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode, header};
use placet_crds::HostKind;
use placet_model::visible;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::{Value, json};

use super::{Report, State, Telling};
use crate::git::Repositories;
use crate::http::{chain, client};
use crate::secrets::Secrets;

/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers are read up to here; what comes is a page of statuses.
const ANSWER_MAX: usize = 1 << 20;

const USER_AGENT: &str = concat!("placet/", env!("CARGO_PKG_VERSION"));

/// Why a status could not be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    why: String,
    /// Whether trying again may help without anybody doing anything.
    pub(super) may_pass: bool,
    /// When the host wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

/// One repository on one host.
pub(super) struct Host {
    kind: HostKind,
    client: Client,
    token: String,
    api: Url,
    repository: String,
    context: String,
    target_url: Option<String>,
}

impl Host {
    /// The host that is to be told of `source`.
    pub(super) async fn new(
        source: &str,
        telling: &Telling,
        secrets: &Secrets,
    ) -> Result<Self, Failed> {
        let to = &telling.to;
        let name = &to.secret_ref.name;
        let values = secrets.read(name).await;
        let values = values.map_err(|error| Failed::for_now(&error.to_string()))?;
        let token = values.get("token").and_then(|token| {
            let token = std::str::from_utf8(token).ok()?.trim_end();
            (!token.is_empty() && !token.contains(char::is_control)).then(|| token.to_owned())
        });
        let unfit = |why: String| Failed::for_good(&why);
        let token =
            token.ok_or_else(|| unfit(format!("secret `{name}` has no `token` of one line")))?;
        let (api, repository) = place(telling).map_err(unfit)?;
        let ca = values.get("ca.crt").map(Vec::as_slice);
        Ok(Self {
            kind: to.host,
            client: client(ca, USER_AGENT).map_err(|error| unfit(error.to_string()))?,
            token,
            api,
            repository,
            context: format!("placet/{source}"),
            target_url: to.target_url.clone(),
        })
    }

    /// Whether the host's newest status of the commit is this one already, as after a restart.
    pub(super) async fn knows(&self, report: &Report) -> Result<bool, Failed> {
        let commit = &report.commit;
        let path = match self.kind {
            HostKind::Github | HostKind::Gitea => {
                self.below(&["repos"], &["commits", commit, "statuses"])
            }
            HostKind::Gitlab => self.below(
                &["projects"],
                &["repository", "commits", commit, "statuses"],
            ),
        };
        let mut url = path;
        if self.kind == HostKind::Gitlab {
            url.query_pairs_mut().append_pair("name", &self.context);
        }
        let response = self.send(self.request(Method::GET, url)).await?;
        let found = read(response).await?;
        let body = self.body(report);
        let field = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
        // The newest comes first; GitLab names state and context otherwise where it answers.
        let (context, state) = match self.kind {
            HostKind::Github => ("context", "state"),
            HostKind::Gitea => ("context", "status"),
            HostKind::Gitlab => ("name", "status"),
        };
        let mut all = found.as_array().into_iter().flatten();
        let newest = all.find(|one| field(one, context) == self.context);
        Ok(newest.is_some_and(|one| {
            field(one, state) == field(&body, "state")
                && field(one, "description") == field(&body, "description")
        }))
    }

    /// Tells the host.
    pub(super) async fn tell(&self, report: &Report) -> Result<(), Failed> {
        let commit = &report.commit;
        let root = match self.kind {
            HostKind::Github | HostKind::Gitea => "repos",
            HostKind::Gitlab => "projects",
        };
        let url = self.below(&[root], &["statuses", commit]);
        let request = self.request(Method::POST, url).json(&self.body(report));
        match self.send(request).await {
            // GitLab refuses to be told the state that it has; then there is nothing to tell.
            Err(failed)
                if self.kind == HostKind::Gitlab
                    && failed.why.contains("Cannot transition status") =>
            {
                Ok(())
            }
            sent => sent.map(drop),
        }
    }

    fn body(&self, report: &Report) -> Value {
        let mut body = json!({
            "state": state(self.kind, report.state),
            "context": self.context,
            "description": cut(&report.text, description_max(self.kind)),
        });
        if let Some(url) = &self.target_url {
            body["target_url"] = json!(url);
        }
        body
    }

    /// The address of what is below the repository, which GitLab takes as one part of the path.
    fn below(&self, before: &[&str], after: &[&str]) -> Url {
        let mut url = self.api.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(before);
            if self.kind == HostKind::Gitlab {
                path.push(&self.repository);
            } else {
                path.extend(self.repository.split('/'));
            }
            path.extend(after);
        }
        url
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url).timeout(PATIENCE);
        match self.kind {
            HostKind::Github => request
                .bearer_auth(&self.token)
                .header(header::ACCEPT, "application/vnd.github+json")
                .header("X-GitHub-Api-Version", "2022-11-28"),
            HostKind::Gitlab => request.header("PRIVATE-TOKEN", &self.token),
            HostKind::Gitea => {
                request.header(header::AUTHORIZATION, format!("token {}", self.token))
            }
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Failed> {
        let response = request.send().await;
        let response = response.map_err(|error| Failed::for_now(&chain(error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let may_pass = status.is_server_error()
            || matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            );
        let wait = response.headers().get(header::RETRY_AFTER);
        let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok());
        let said = read(response).await.unwrap_or_default();
        let said = ["message", "error"].map(|key| said[key].to_string());
        let said = said.into_iter().find(|text| text != "null");
        let advice = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "; give the secret's `token` the right to write commit statuses"
            }
            StatusCode::NOT_FOUND => {
                "; compare `api` and `repository` of `spec.commitStatus`, and what the token may see"
            }
            _ => "",
        };
        Err(Failed {
            why: format!(
                "the host answers {status}{}{advice}",
                said.map_or_else(String::new, |said| {
                    format!(": {}", cut(&visible(&said).to_string(), 200))
                })
            ),
            may_pass,
            retry_after: wait.map(Duration::from_secs),
        })
    }
}

async fn read(mut response: Response) -> Result<Value, Failed> {
    let mut bytes = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| Failed::for_now(&chain(error)))?
    {
        bytes.extend_from_slice(&piece);
        if bytes.len() > ANSWER_MAX {
            return Err(Failed::for_now("the answer is more than 1 MiB"));
        }
    }
    // What is no JSON says nothing.
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Where the interface of the host is, and what the repository is called there.
fn place(telling: &Telling) -> Result<(Url, String), String> {
    let known = Repositories::place_on_host(&telling.url);
    let to = &telling.to;
    let repository = match (&to.repository, &known) {
        (Some(repository), _) | (None, Some((_, repository))) => repository.clone(),
        (None, None) => {
            return Err(
                "the repository's URL does not say what it is called on the host; set `spec.commitStatus.repository`"
                    .to_owned(),
            );
        }
    };
    let api = match (&to.api, &known) {
        (Some(api), _) => api.clone(),
        (None, Some((host, _))) => match to.host {
            HostKind::Github if host == "github.com" => "https://api.github.com".to_owned(),
            HostKind::Github => format!("https://{host}/api/v3"),
            HostKind::Gitlab => format!("https://{host}/api/v4"),
            HostKind::Gitea => format!("https://{host}/api/v1"),
        },
        (None, None) => {
            return Err(
                "the repository's URL does not say which host it is on; set `spec.commitStatus.api`"
                    .to_owned(),
            );
        }
    };
    let api = Url::parse(&api);
    let api = api.map_err(|_| "`spec.commitStatus.api` is not an https address".to_owned())?;
    Ok((api, repository))
}

fn state(kind: HostKind, state: State) -> &'static str {
    match (kind, state) {
        (_, State::Pending) => "pending",
        (_, State::Success) => "success",
        (HostKind::Gitlab, State::Failure) => "failed",
        (HostKind::Gitlab, State::Error) => "canceled",
        (_, State::Failure) => "failure",
        (_, State::Error) => "error",
    }
}

/// Characters that the host takes.
fn description_max(kind: HostKind) -> usize {
    match kind {
        HostKind::Github => 140,
        HostKind::Gitlab | HostKind::Gitea => 255,
    }
}

/// One escaped line of at most so many characters.
fn cut(text: &str, most: usize) -> String {
    let text = visible(text).to_string();
    if text.chars().count() <= most {
        return text;
    }
    let mut kept: String = text.chars().take(most - 1).collect();
    kept.push('…');
    kept
}

impl Failed {
    fn for_now(why: &str) -> Self {
        Self {
            why: visible(why).to_string(),
            may_pass: true,
            retry_after: None,
        }
    }

    fn for_good(why: &str) -> Self {
        Self {
            may_pass: false,
            ..Self::for_now(why)
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
