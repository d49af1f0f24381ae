//! Whether the controller is alive, and whether it is ready.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use placet_model::visible;

use super::locked;

/// The loop looks at its timers every minute, and a turn in which an API server is asked again and
/// again ends with the term of leadership: whoever has not turned for so long does not turn any
/// more.
const PATIENCE: Duration = Duration::from_mins(3);

/// What this replica is to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// It cannot take part yet; why.
    Starts(&'static str),
    /// Another replica leads, by this name, if any does.
    Follows(Option<String>),
    /// It leads, and finds out what there is.
    Opens,
    /// It leads, and everything that is watched has been listed.
    Leads,
}

/// What the probes are answered from.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    role: Role,
    pulse: Pulse,
}

/// Of the fleet's loop.
#[derive(Debug, Clone, Copy)]
enum Pulse {
    /// There is no loop in this replica now.
    None,
    /// A turn is under way since then.
    Turns(Instant),
    /// The last turn ended then.
    Rests(Instant),
}

impl Default for State {
    fn default() -> Self {
        Self {
            role: Role::Starts("the controller is starting"),
            pulse: Pulse::None,
        }
    }
}

impl Health {
    pub(super) fn turn_begins(&self) {
        locked(&self.0).pulse = Pulse::Turns(Instant::now());
    }

    pub(super) fn turn_ends(&self) {
        locked(&self.0).pulse = Pulse::Rests(Instant::now());
    }

    pub(super) fn loop_ends(&self) {
        locked(&self.0).pulse = Pulse::None;
    }

    pub(super) fn is(&self, role: Role) {
        locked(&self.0).role = role;
    }

    /// Why the controller should be started anew, if it should.
    pub(super) fn ill(&self) -> Option<String> {
        self.ill_at(Instant::now())
    }

    fn ill_at(&self, now: Instant) -> Option<String> {
        let (since, what) = match locked(&self.0).pulse {
            Pulse::None => return None,
            Pulse::Turns(since) => (since, "a turn of the fleet's loop has not ended"),
            Pulse::Rests(since) => (since, "the fleet's loop has not turned"),
        };
        let lasted = now.saturating_duration_since(since);
        let too_long = lasted > PATIENCE;
        too_long.then(|| format!("{what} for {} s", lasted.as_secs()))
    }

    /// What the replica is, where it is ready; or what is missing.
    pub(super) fn ready(&self) -> Result<String, String> {
        if let Some(ill) = self.ill() {
            return Err(ill);
        }
        let state = locked(&self.0);
        match (&state.role, state.pulse) {
            (Role::Starts(why), _) => Err((*why).to_owned()),
            (Role::Follows(None), _) => {
                Err("no replica is known to lead; the Lease says who does".to_owned())
            }
            (Role::Follows(Some(leader)), _) => Ok(format!(
                "{} leads, and this replica follows",
                visible(leader)
            )),
            (Role::Opens, _) => {
                Err("this replica leads, and has not yet listed what it watches".to_owned())
            }
            (Role::Leads, Pulse::None) => {
                Err("this replica leads, and the fleet's loop has not turned yet".to_owned())
            }
            (Role::Leads, _) => Ok("this replica leads".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Health, Instant, PATIENCE, Role};

    #[test]
    fn a_loop_that_does_not_turn_is_ill_and_says_for_how_long() {
        let health = Health::default();
        let late = || Instant::now() + PATIENCE + Duration::from_secs(5);
        assert_eq!(health.ill_at(late()), None, "there is no loop");
        health.turn_begins();
        assert_eq!(health.ill(), None);
        let why = health.ill_at(late()).unwrap();
        assert_eq!(why, "a turn of the fleet's loop has not ended for 185 s");
        health.turn_ends();
        let why = health.ill_at(late()).unwrap();
        assert_eq!(why, "the fleet's loop has not turned for 185 s");
        health.loop_ends();
        assert_eq!(health.ill_at(late()), None);
    }

    #[test]
    fn who_is_not_ready_says_what_is_missing() {
        let health = Health::default();
        let missing = |role: Role| {
            health.is(role);
            health.ready().unwrap_err()
        };
        assert_eq!(health.ready().unwrap_err(), "the controller is starting");
        assert!(missing(Role::Follows(None)).contains("the Lease says who does"));
        assert!(missing(Role::Opens).contains("not yet listed"));
        assert!(missing(Role::Leads).contains("has not turned yet"));
        health.turn_begins();
        assert_eq!(health.ready().unwrap(), "this replica leads");
        health.is(Role::Follows(Some("placet-0\n".to_owned())));
        let words = health.ready().unwrap();
        assert!(words.starts_with("placet-0\\n leads"), "{words}");
    }
}
