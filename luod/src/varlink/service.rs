// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interface that every service has: `org.varlink.service`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Request, agent, json, manager};

/// The name of the interface.
pub const NAME: &str = "org.varlink.service";

/// Errors of calls that are none of an interface of luod.
#[derive(Debug, Serialize)]
#[serde(tag = "error", content = "parameters")]
pub enum Error {
    /// There is no such interface.
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound {
        /// Its name.
        interface: String,
    },
    /// The interface has no such method.
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound {
        /// Its name.
        method: String,
    },
    /// A parameter is missing, unknown, or has a wrong type.
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    InvalidParameter {
        /// Its name, or a text that has it.
        parameter: String,
    },
    /// The method must be called with `more`.
    #[serde(rename = "org.varlink.service.ExpectedMore")]
    ExpectedMore {},
}

#[derive(Serialize)]
struct Info {
    vendor: &'static str,
    product: &'static str,
    version: &'static str,
    url: &'static str,
    interfaces: Vec<&'static str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    interface: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

const DESCRIPTION: &str = "\
# The interface of every service: what it offers.
interface org.varlink.service

# The service, and its interfaces.
method GetInfo() -> (
	vendor: string,
	product: string,
	version: string,
	url: string,
	interfaces: []string
)

# The text of an interface.
method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
error PermissionDenied ()
error ExpectedMore ()
error ExpectedUpgrade ()
";

/// The answer of a service with one interface besides this one.
///
/// # Errors
///
/// [`Error`].
pub fn answer(request: &Request, interface: &'static str) -> Result<Value, Error> {
    match request.split().1 {
        "GetInfo" => {
            let Nothing {} = request.parameters()?;
            Ok(json(Info {
                vendor: "liveupdate",
                product: "luod",
                version: env!("CARGO_PKG_VERSION"),
                url: "https://docs.kernel.org/core-api/liveupdate.html",
                interfaces: vec![NAME, interface],
            }))
        }
        "GetInterfaceDescription" => {
            let Named { interface: asked } = request.parameters()?;
            let description = match asked.as_str() {
                NAME => DESCRIPTION,
                agent::NAME if interface == agent::NAME => agent::TEXT,
                manager::NAME if interface == manager::NAME => manager::TEXT,
                _ => return Err(Error::InterfaceNotFound { interface: asked }),
            };
            Ok(serde_json::json!({ "description": description }))
        }
        _ => Err(Error::MethodNotFound { method: request.method.clone() }),
    }
}
