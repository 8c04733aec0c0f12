// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interfaces of luod on the wire: Varlink.
//!
//! The files in `interfaces/` are the interfaces as clients read them, with comments. [`agent`] and
//! [`manager`] have the same types for programs; a test holds them equal.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod agent;
pub mod manager;
pub mod service;
mod socket;

pub use socket::{Limits, MAX_FRAME, Reader, Wire, Writer};
pub use zlink::{Call, Connection, Reply};

/// A connection.
pub type Stream = Connection<Wire>;

/// The method and parameters of a call.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The name, with that of the interface before it.
    pub method: String,
    /// The parameters, which may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
}

impl Request {
    /// The interface and the name of the method in it.
    pub fn split(&self) -> (&str, &str) {
        self.method.rsplit_once('.').unwrap_or(("", &self.method))
    }

    /// The parameters of a method.
    ///
    /// # Errors
    ///
    /// [`service::Error::InvalidParameter`], with the name of the parameter if it is known.
    pub fn parameters<T: DeserializeOwned>(&self) -> Result<T, service::Error> {
        let none = Value::Object(serde_json::Map::new());
        let parameters = self.parameters.as_ref().unwrap_or(&none);
        serde_path_to_error::deserialize(parameters).map_err(|error| {
            let (path, what) = (error.path().to_string(), error.inner().to_string());
            let parameter = if path == "." { what } else { path };
            service::Error::InvalidParameter { parameter }
        })
    }
}

/// The value as JSON. Types of this crate can always be.
#[expect(clippy::expect_used, reason = "texts, numbers and lists can be JSON")]
pub(crate) fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).expect("JSON")
}

#[cfg(test)]
mod tests;
