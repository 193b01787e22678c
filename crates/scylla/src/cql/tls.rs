//! TLS to nodes, whose certificates are seldom those of the public.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::CqlError;

/// Whom to believe to be a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Anybody. Keeps out who listens, not who answers in a node's place.
    #[default]
    Anybody,
    /// Whose certificate comes from one of these authorities (PEM).
    Authorities {
        /// Their certificates.
        pem: Vec<u8>,
        /// Whether the certificate must also be for the node's address. Nodes tell each other's by
        /// IP address, which many certificates lack.
        address: bool,
    },
}

/// How CQL is spoken within TLS.
#[derive(Clone, Default)]
pub struct Tls {
    /// Whom to believe.
    pub trust: Trust,
    /// Our own certificate and its key (PEM), where nodes ask for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Never shows the key.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("trust", &self.trust)
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

impl Tls {
    /// What the driver wants to know.
    pub(super) fn client(&self) -> Result<ClientConfig, CqlError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match &self.trust {
            Trust::Anybody => Arc::new(Verifier {
                provider: Arc::clone(&provider),
                authorities: None,
            }),
            Trust::Authorities { pem, address } => {
                let roots = Arc::new(roots(pem)?);
                let built = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
                let authorities = built.build().map_err(|e| wrong(&e))?;
                if *address {
                    authorities
                } else {
                    Arc::new(Verifier {
                        provider: Arc::clone(&provider),
                        authorities: Some(authorities),
                    })
                }
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(&e))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let Some((chain, key)) = &self.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| CqlError::Tls("the key is no PEM of a private key".to_owned()))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|e| wrong(&e))
    }
}

fn wrong(error: &impl ToString) -> CqlError {
    CqlError::Tls(error.to_string())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CqlError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|e| wrong(&e))?;
    if all.is_empty() {
        return Err(CqlError::Tls(
            "there is no certificate in the PEM".to_owned(),
        ));
    }
    Ok(all)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, CqlError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|e| wrong(&e))?;
    }
    Ok(roots)
}

/// Checks who signed a certificate, if anybody must have, and not what address it is for.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        // The name is looked at last, when all else is right.
        if let Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) = verified
        {
            return Ok(ServerCertVerified::assertion());
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A server whose certificate is for `name`.
    fn server(authority: &Authority, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    /// Shakes hands with a server at 127.0.0.1.
    fn shake(tls: &Tls, server: &ServerConfig) -> Result<(), io::Error> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let client = Arc::new(tls.client().unwrap());
        let mut client = ClientConnection::new(client, name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server.clone())).unwrap();
        let failed = io::Error::other::<rustls::Error>;
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes)?;
            server.read_tls(&mut &bytes[..])?;
            server.process_new_packets().map_err(failed)?;
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes)?;
            client.read_tls(&mut &bytes[..])?;
            client.process_new_packets().map_err(failed)?;
        }
        Ok(())
    }

    fn trusting(authority: &Authority, address: bool) -> Tls {
        let pem = authority.pem().into_bytes();
        let trust = Trust::Authorities { pem, address };
        let identity = None;
        Tls { trust, identity }
    }

    #[test]
    fn whom_to_believe_is_checked() {
        let (ours, theirs) = (authority(), authority());
        let (named, addressed) = (server(&ours, "node.example"), server(&ours, "127.0.0.1"));
        shake(&Tls::default(), &named).unwrap();
        shake(&trusting(&ours, false), &named).unwrap();
        shake(&trusting(&ours, true), &addressed).unwrap();
        let error = shake(&trusting(&ours, true), &named).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
        for address in [false, true] {
            let error = shake(&trusting(&theirs, address), &addressed).unwrap_err();
            assert!(
                error.to_string().contains("invalid peer certificate"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let pem = b"nothing".to_vec();
        let address = false;
        let trust = Trust::Authorities { pem, address };
        let identity = None;
        let error = Tls { trust, identity }.client().unwrap_err();
        assert!(error.to_string().contains("no certificate"), "{error}");
        let pair = (authority().pem().into_bytes(), b"hidden".to_vec());
        let (trust, identity) = (Trust::Anybody, Some(pair));
        let tls = Tls { trust, identity };
        let error = tls.client().unwrap_err();
        assert!(error.to_string().contains("private key"), "{error}");
        assert!(!format!("{tls:?} {error:?}").contains("hidden"));
    }
}
